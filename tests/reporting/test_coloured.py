"""Texts cut into pieces of one look."""

from gptmodel.reporting.coloured import by_copies, by_surprise


def test_tokens_are_coloured_by_their_loss() -> None:
    pieces = by_surprise(["a", "b", "c", "d", "e", "f"], [0.1, 0.99, 1.0, 1.9, 4.9, 20.0])
    assert pieces == [("ab", ""), ("cd", "n1"), ("e", "n3"), ("f", "n5")]
    assert by_surprise([], []) == []


def test_copied_passages_are_marked_by_the_longest_one() -> None:
    text = "x" * 10 + "y" * 20 + "z" * 40
    assert by_copies(text, [[2, 10], [8, 26], [38, 70]]) == [
        ("xx", ""),
        ("x" * 6, "c1"),
        ("xx" + "y" * 16, "c2"),
        ("yyyy" + "z" * 8, ""),
        ("z" * 32, "c3"),
    ]
    assert by_copies("abc", []) == [("abc", "")]
    assert "".join(piece.text for piece in by_copies(text, [[0, 70]])) == text
