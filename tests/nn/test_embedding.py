"""Rotary positions and n-gram ids, by worked examples and by what they promise."""

import itertools

import numpy as np
import pytest
import torch
from model_helpers import generator, scramble

from gptmodel.nn.embedding import NGRAM_ROWS, NgramEmbedding, Rotary


def test_position_0_is_not_turned_at_all() -> None:
    x = torch.randn(3, 1, 8, generator=generator(0))
    assert torch.equal(Rotary(8, 4)(x), x)


def test_a_rotation_worked_by_hand() -> None:
    """Head size 4: the pairs are (0, 1) and (2, 3), turned by t and t / 100 radians; here t = 2."""
    turned = Rotary(4, 3)(torch.tensor([[[1.0, 0.0, 0.0, 1.0]]]), start=2)[0, 0].numpy()
    np.testing.assert_allclose(turned, [np.cos(2.0), np.sin(2.0), -np.sin(0.02), np.cos(0.02)], rtol=1e-6)


def test_rows_are_turned_by_their_own_position() -> None:
    rotary, x = Rotary(6, 9), torch.randn(2, 9, 6, generator=generator(0))
    for t in range(9):
        torch.testing.assert_close(rotary(x)[:, t : t + 1], rotary(x[:, t : t + 1], start=t), rtol=1e-6, atol=1e-7)


def test_turned_products_depend_on_the_distance_only_and_lengths_stay() -> None:
    rotary = Rotary(8, 64)
    q, k = torch.randn(2, 8, generator=generator(0), dtype=torch.float64)
    qs, ks = rotary(q.expand(1, 64, 8))[0], rotary(k.expand(1, 64, 8))[0]  # the same vectors at every position
    products = qs @ ks.T  # (64, 64)
    for distance in range(-63, 64):
        line = products.diagonal(distance)
        torch.testing.assert_close(line, line[:1].expand_as(line), rtol=1e-5, atol=1e-5)
    assert abs(products[5, 0] - products[0, 5]) > 1e-3  # the direction counts
    torch.testing.assert_close(qs.norm(dim=-1), q.norm().expand(64), rtol=1e-6, atol=0)


def test_tables_are_in_no_checkpoint() -> None:
    assert not Rotary(8, 4).state_dict()


def test_n_gram_ids_worked_by_hand() -> None:
    """Vocab 3, so a missing id counts as 3 and codes are numbers of base 4, the current id first."""
    ngrams = NgramEmbedding((2, 3), 3, 5)
    assert [table.num_embeddings for table in ngrams.tables] == [16, 64]
    idx = torch.tensor([[0, 2, 1], [2, 2, 2]])
    assert ngrams.ids(idx, 2, 16).tolist() == [[0 * 4 + 3, 2 * 4 + 0, 1 * 4 + 2], [2 * 4 + 3, 2 * 4 + 2, 2 * 4 + 2]]
    assert ngrams.ids(idx, 3, 64).tolist() == [
        [0 * 16 + 3 * 4 + 3, 2 * 16 + 0 * 4 + 3, 1 * 16 + 2 * 4 + 0],
        [2 * 16 + 3 * 4 + 3, 2 * 16 + 2 * 4 + 3, 2 * 16 + 2 * 4 + 2],
    ]


@pytest.mark.parametrize("order", [2, 3, 4])
def test_small_vocabularies_have_a_row_for_each_n_gram(order: int) -> None:
    ngrams = NgramEmbedding((order,), 4, 1)
    rows = ngrams.tables[0].num_embeddings
    assert rows == 5**order
    idx = torch.tensor(list(itertools.product(range(4), repeat=order)))  # every n-gram ends at the last position
    ids = ngrams.ids(idx, order, rows)
    assert len(set(ids[:, -1].tolist())) == 4**order
    assert 0 <= int(ids.min()) <= int(ids.max()) < rows


@pytest.mark.parametrize(("vocab_size", "order"), [(256, 3), (256, 8), (60, 3), (1_000_000, 2)])
def test_large_vocabularies_are_hashed_into_range_evenly(vocab_size: int, order: int) -> None:
    ngrams = NgramEmbedding((order,), vocab_size, 1)
    rows = ngrams.tables[0].num_embeddings
    assert rows == NGRAM_ROWS
    idx = torch.randint(vocab_size, (200, 100), generator=generator(0))
    idx[0], idx[1] = vocab_size - 1, 0
    ids = ngrams.ids(idx, order, rows)
    assert 0 <= int(ids.min()) <= int(ids.max()) < rows
    distinct = len(torch.unique(ids[2:, order:]))
    drawn = ids[2:, order:].numel()
    expected = rows * (1 - (1 - 1 / rows) ** drawn)  # of as many fair throws
    assert distinct > 0.97 * expected


@pytest.mark.parametrize("vocab_size", [5, 300])
def test_the_embedding_is_the_sum_of_a_row_of_each_table_and_sees_no_more_than_n_ids(vocab_size: int) -> None:
    ngrams = scramble(NgramEmbedding((2, 3), vocab_size, 4))
    idx = torch.randint(vocab_size, (2, 7), generator=generator(3))
    two, three = ngrams.tables
    expected = two(ngrams.ids(idx, 2, two.num_embeddings)) + three(ngrams.ids(idx, 3, three.num_embeddings))
    torch.testing.assert_close(ngrams(idx), expected)
    changed = idx.clone()
    changed[:, 3] = (changed[:, 3] + 1) % vocab_size
    same = (ngrams(changed) == ngrams(idx)).all(dim=-1)[0].tolist()
    assert same == [True, True, True, False, False, False, True]
