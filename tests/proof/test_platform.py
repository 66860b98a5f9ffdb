"""Which platforms are told apart, and which differences excuse nothing."""

from gptmodel.proof.platform import another_machine


def test_a_setting_makes_no_other_platform() -> None:
    locked = {"cpu_capability": "AVX2", "threads": "2", "device": "cpu"}
    assert another_machine(locked, locked) == ""
    assert another_machine(locked, locked | {"cpu_capability": "AVX512"}) == "cpu_capability AVX2 there, AVX512 here"
    assert another_machine(locked, locked | {"cpu_capability": "AVX512", "threads": "1"}) == ""
    assert another_machine(locked, locked | {"threads": "1"}) == ""
