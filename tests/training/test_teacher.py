"""A teacher: what counts of one half of the train split say of the other, and what is learnt from it."""

import numpy as np
import pytest
import torch
from model_helpers import batch, scramble, small_model, small_params
from torch import Tensor
from training_helpers import TRAIN_DATA, new_state, plain_run

from gptmodel.data.batches import training_batch, training_starts
from gptmodel.kneser_ney import KneserNey
from gptmodel.training.loop import fit
from gptmodel.training.step import nats_of_all
from gptmodel.training.teacher import Teacher

ORDER, SHARE, V, T = 3, 0.3, 5, 8
TRAIN = small_params(train={"teacher_order": ORDER, "teacher_share": SHARE, "batch_size": 50}).train
FIRST, SECOND = np.array([0, 1, 2] * 40, dtype=np.uint8), np.array([0, 3, 4] * 40, dtype=np.uint8)


def taught(ids: np.ndarray, iteration: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Where the sequences of a batch start (B,), its idx (B, T) and its targets (B, T, V)."""
    pair = training_batch(ids, TRAIN.seed, iteration, TRAIN.batch_size, T)
    starts = training_starts(len(ids), TRAIN.seed, iteration, TRAIN.batch_size, T)
    return torch.from_numpy(starts), *Teacher(TRAIN, V, ids).taught(pair, iteration)


def test_each_half_is_taught_by_the_counts_of_the_other_and_by_the_token_that_came() -> None:
    ids = np.concatenate([FIRST, SECOND, FIRST[:1]])  # an odd number
    starts, idx, targets = taught(ids)
    halves = [torch.from_numpy(ids[:121].astype(np.int64)), torch.from_numpy(ids[121:].astype(np.int64))]
    for start, sequence, target in zip(starts.tolist(), idx, targets, strict=True):
        teacher = KneserNey.count(ORDER, V, SHARE, halves[1 if start < 121 else 0])
        came = torch.from_numpy(ids[start + 1 : start + T + 1].astype(np.int64))
        expected = SHARE * teacher.probabilities(sequence[None])[0] + (1 - SHARE) * torch.eye(V)[came]  # (T, V)
        torch.testing.assert_close(target, expected)
    assert 10 < int((starts < 121).sum()) < 40  # both halves are there


def test_a_half_says_nothing_of_itself() -> None:
    starts, _, targets = taught(np.concatenate([FIRST, SECOND]))
    inside = starts + T < 120  # 3 and 4 never come after 0 there, and always in what they are taught by
    after_0 = targets[inside][:, :, 3].amax(dim=1)
    assert inside.sum() > 10
    assert after_0.min() > 0.8 * SHARE
    torch.testing.assert_close(targets.sum(dim=2), torch.ones(TRAIN.batch_size, T))


def test_the_loss_of_certain_targets_is_that_of_their_ids() -> None:
    model, idx, ids = scramble(small_model()), batch(seed=1), batch(seed=2)
    certain = torch.eye(model.vocab_size)[ids]  # (B, T, V)
    torch.testing.assert_close(nats_of_all(model, idx, certain), nats_of_all(model, idx, ids))


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_an_iteration_learns_from_the_mixture(share: float) -> None:
    sections = {"train": {"teacher_order": 2, "teacher_share": share, "max_iters": 1, "eval_interval": 1}}
    state, run = new_state(**sections), plain_run(**sections)
    expected, train = new_state(**sections), run.params.train
    pair = training_batch(TRAIN_DATA, train.seed, 0, train.batch_size, run.params.model.block_size)
    model = expected.model.transformer.train()
    idx, targets = Teacher(train, model.vocab_size, TRAIN_DATA).taught(pair, 0)
    loss = nats_of_all(model, idx, targets) / idx.numel()
    loss.backward()  # type: ignore[no-untyped-call]
    expected.optimizer.param_groups[0]["lr"] = train.learning_rate
    expected.optimizer.step()
    assert fit(state, *run)
    losses = run.hooks.observer.losses  # type: ignore[attr-defined]
    assert losses == [(1, pytest.approx(loss.item(), rel=1e-6))]
    for weight, other in zip(state.model.transformer.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-5, atol=1e-6)
