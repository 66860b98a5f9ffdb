"""What an iteration of ours spends its time on in one thread, by torch's profiler: its operators, grouped by name.

The time of an operator is that without the operators it calls. What no operator that computes accounts for is Python,
autograd and torch's way from one operator to the next; the profiler makes this part longer than it is otherwise.
"""

import time
from collections.abc import Mapping

from benchmarks.contestants.loops import Train, ours
from benchmarks.contestants.sizes import Sizes

WARM_UP = 5
REST = "Python, autograd, dispatch"
GROUPS = {  # beginnings of names; the first group that has one takes the operator
    "optimizer": ("_fused_adam", "_foreach_", "linalg_vector_norm", "Optimizer."),
    "matrix products": ("mm", "addmm"),
    "attention": ("bmm", "baddbmm", "_softmax", "_scaled_dot_product", "_flash_attention"),
    REST: (  # names, sizes and views: nothing is computed
        *("t", "transpose", "view", "_unsafe_view", "_reshape_alias", "reshape", "as_strided", "alias", "detach"),
        *("select", "slice", "narrow", "split", "unbind", "expand", "squeeze", "unsqueeze", "permute", "flatten"),
        *("empty", "resize_", "to", "_to_copy", "contiguous", "linear", "matmul", "item", "resolve_conj"),
    ),
}
WHOLE_NAMES = {"t", "to", "mm", "linear", "item", "empty", "select", "view"}  # which other names begin with
OTHERS = "element-wise, norms, copies"


def group(name: str) -> str:
    """Return the group of an operator, or of a function that the profiler names."""
    if not name.startswith(("aten::", "Optimizer.")):
        return REST
    plain = name.removeprefix("aten::")
    for title, beginnings in GROUPS.items():
        if any(plain == word or (word not in WHOLE_NAMES and plain.startswith(word)) for word in beginnings):
            return title
    return OTHERS


def shares(seconds: Mapping[str, float], whole: float) -> dict[str, float]:
    """Return the share of each group, of operators' seconds and the whole time."""
    parts = dict.fromkeys(("matrix products", "attention", OTHERS, "optimizer", REST), 0.0)
    for name, value in seconds.items():
        parts[group(name)] += value / whole
    parts[REST] = 1.0 - sum(share for title, share in parts.items() if title != REST)
    return parts


def breakdown(sizes: Sizes, iterations: int) -> dict[str, float]:
    """Profile iterations of ours; return each group's share of the time, and how much longer profiling made them."""
    from torch.profiler import ProfilerActivity, profile

    train = ours(sizes, 1)  # the profiler sees only the thread that it was started in
    train(WARM_UP)
    alone = _seconds(train, iterations)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        whole = _seconds(train, iterations)
    seconds = {event.key: event.self_cpu_time_total / 1e6 for event in profiler.key_averages()}
    return {**shares(seconds, whole), "times as long when profiled": whole / alone}


def _seconds(train: Train, iterations: int) -> float:
    started = time.perf_counter()
    train(iterations)
    return time.perf_counter() - started
