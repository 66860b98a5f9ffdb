"""Turns: each has its own before anybody has a second; places are freed, and nobody is held up by another."""

import asyncio
from collections.abc import Generator, Iterator

import pytest
from serving_helpers import collected

from gptmodel.serving import engine as engine_module
from gptmodel.serving.engine import BACKLOG, JOBS, BusyError, Engine, StoppedError, UnreadError


def counting(log: list[tuple[int, int]], number: int, turns: int = 5) -> Generator[int, None, None]:
    for turn in range(turns):
        log.append((number, turn))
        yield turn


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.stop()


def test_each_has_its_first_turn_before_anybody_has_a_second(engine: Engine) -> None:
    log: list[tuple[int, int]] = []

    async def run() -> None:
        with engine._changed:  # nobody begins before all are there
            jobs = [engine.submit(counting(log, number)) for number in range(16)]
            with pytest.raises(BusyError):
                engine.submit(counting(log, 16))
        assert await asyncio.gather(*map(collected, jobs)) == [list(range(5))] * 16

    asyncio.run(run())
    assert log == [(number, turn) for turn in range(5) for number in range(16)]
    assert engine.jobs == 0


def test_who_stops_listening_frees_the_place(engine: Engine) -> None:
    closed: list[bool] = []

    def endless() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    async def run() -> None:
        job = engine.submit(endless())
        async for _ in job.results():
            break
        never_listened = engine.submit(endless())
        never_listened.cancel()
        for _ in range(500):
            await asyncio.sleep(0.01)
            if engine.jobs == 0:
                return

    asyncio.run(run())
    assert engine.jobs == 0
    assert closed == [True]  # one never began


def test_who_does_not_take_his_results_is_passed_over(engine: Engine) -> None:
    log: list[tuple[int, int]] = []

    async def run() -> None:
        slow = engine.submit(counting(log, 0, 1000))
        quick = engine.submit(counting(log, 1, 300))
        assert len(await collected(quick)) == 300
        assert sum(number == 0 for number, _ in log) <= BACKLOG
        assert len(await collected(slow)) == 1000

    asyncio.run(run())


def test_a_job_that_nobody_reads_loses_its_place_to_another(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[tuple[int, int]] = []

    async def run() -> None:
        jobs = [engine.submit(counting(log, number, 1000)) for number in range(JOBS)]
        while any(len(job.waiting) < BACKLOG for job in jobs):
            await asyncio.sleep(0.01)
        with pytest.raises(BusyError):  # they have been full for a moment only
            engine.submit(counting(log, JOBS))
        monkeypatch.setattr(engine_module, "UNREAD_SECONDS", 0.0)
        assert await collected(engine.submit(counting(log, JOBS))) == list(range(5))
        monkeypatch.setattr(engine_module, "UNREAD_SECONDS", 60.0)
        first, *others = jobs
        with pytest.raises(UnreadError):
            await collected(first)
        assert [len(made) for made in await asyncio.gather(*map(collected, others))] == [1000] * (JOBS - 1)

    asyncio.run(run())
    assert engine.jobs == 0


def test_an_error_of_a_job_is_its_own(engine: Engine) -> None:
    def broken() -> Generator[int, None, None]:
        yield 1
        raise ZeroDivisionError("of this one")

    async def run() -> None:
        jobs = [engine.submit(broken()), engine.submit(counting([], 0))]
        bad, good = await asyncio.gather(*map(collected, jobs), return_exceptions=True)
        assert isinstance(bad, ZeroDivisionError)
        assert good == list(range(5))

    asyncio.run(run())


def test_stopping_ends_every_job_at_once() -> None:
    async def run() -> None:
        engine = Engine()
        jobs = [engine.submit(counting([], number, 10**9)) for number in range(3)]
        waiting = [asyncio.create_task(collected(job)) for job in jobs]
        await asyncio.sleep(0.01)
        engine.stop()
        ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
        assert [type(end) for end in ends] == [StoppedError] * 3
        with pytest.raises(StoppedError):
            engine.submit(counting([], 0))

    asyncio.run(run())
