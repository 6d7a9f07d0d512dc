"""The queue: bounded, fair, nothing lost, nothing done for nobody."""

import asyncio
import json
import threading

import pytest
from serving import application, ask, send, table_model

from manyhot.serve import served as served_module
from manyhot.serve import state as state_module

JSON = "application/json"


def rows(*widths):
    return json.dumps({"rows": [{"width": w, "price": "1,5", "origin": "n"} for w in widths]}).encode()


def chance(row):
    return row["answers"]["fruit"]["probabilities"]["apple"]


@pytest.fixture
def held(monkeypatch):
    """A model that answers once `release` is set, and tells by `begun` that it was asked."""
    market = table_model()
    market.one.begun, market.one.release = threading.Event(), threading.Event()
    answer = market.one.probabilities

    def probabilities(x, fold=None):
        market.one.begun.set()
        assert market.one.release.wait(10)
        return answer(x)

    monkeypatch.setattr(market.one, "probabilities", probabilities)
    yield market
    market.one.release.set()


async def begun(model):
    await asyncio.to_thread(model.one.begun.wait, 10)


def test_every_request_gets_its_own_answer_once():
    with application(runners=4) as app:

        async def all_of_them():
            asks = [send(app, "POST", "/predict", rows(i / 50, -i / 50), JSON) for i in range(200)]
            return await asyncio.gather(*asks)

        replies = asyncio.run(all_of_them())
        alone = [ask(app, "POST", "/predict", rows(i / 50), JSON).json["rows"][0] for i in range(0, 200, 9)]
    assert [reply.status for reply in replies] == [200] * 200
    chances = [chance(reply.json["rows"][0]) for reply in replies]
    assert chances == sorted(chances)
    assert len({*chances}) == 200
    assert [reply.json["rows"][0] for reply in replies][::9] == alone
    assert app.state.batcher.waiting.total() == 0


def test_a_full_queue_is_said_at_once_and_everything_taken_is_answered(held, monkeypatch):
    monkeypatch.setattr(served_module.Served, "room", 5)
    with application(held, runners=1) as app:

        async def crowd():
            running = asyncio.create_task(send(app, "POST", "/predict", rows(0), JSON))
            await begun(held)
            asks = [asyncio.create_task(send(app, "POST", "/predict", rows(0, 1), JSON)) for _ in range(4)]
            refused = [await asks[2], await asks[3]]
            metrics = await send(app, "GET", "/metrics")
            held.one.release.set()
            return refused, metrics, await asyncio.gather(running, *asks[:2])

        refused, metrics, answered = asyncio.run(crowd())
    assert 'manyhot_queue_rows{model="market"} 4' in metrics.body.decode()
    for reply in refused:
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.error == "Too many rows wait already. Try again in a second."
    assert [len(reply.json["rows"]) for reply in answered] == [1, 2, 2]


def test_an_abandoned_request_never_reaches_the_model(held):
    with application(held, runners=1) as app:

        async def leave():
            running = asyncio.create_task(send(app, "POST", "/predict", rows(0), JSON))
            await begun(held)
            gone = asyncio.Event()
            abandoned = asyncio.create_task(send(app, "POST", "/predict", rows(*range(300)), JSON, gone=gone))
            behind = asyncio.create_task(send(app, "POST", "/predict", rows(1, 2, 3), JSON))
            await asyncio.sleep(0.05)
            gone.set()
            left = await abandoned
            held.one.release.set()
            return left, await running, await behind

        left, *others = asyncio.run(leave())
        metrics = ask(app, "GET", "/metrics").body.decode()
    assert left.status == 499
    assert [len(reply.json["rows"]) for reply in others] == [1, 3]
    assert held.one.asked == [1, 3]
    assert 'manyhot_requests_total{route="/predict",status="499"} 1' in metrics
    assert 'manyhot_queue_rows{model="market"} 0' in metrics


def test_a_late_request_is_told_so_and_never_reaches_the_model(held, monkeypatch):
    monkeypatch.setattr(state_module, "PATIENCE", 0.1)
    with application(held, runners=1) as app:

        async def wait():
            replies = [asyncio.create_task(send(app, "POST", "/predict", rows(0), JSON))]
            await begun(held)
            replies += [asyncio.create_task(send(app, "POST", "/predict", rows(1, 2), JSON))]
            found = await asyncio.gather(*replies)
            held.one.release.set()
            return found

        replies = asyncio.run(wait())
        assert ask(app, "POST", "/predict", rows(1, 2, 3, 4), JSON).status == 200
    for reply in replies:
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "took more than 0.1 seconds" in reply.error
    assert held.one.asked == [1, 4]


def test_a_row_that_the_model_fails_on_fails_no_other(log_lines):
    with application(table_model(fails=True), runners=1) as app:
        reply = ask(app, "POST", "/predict", rows(3, 1, 4), JSON)
        alone = ask(app, "POST", "/predict", rows(3), JSON)
    errors = [row["error"] for row in reply.json["rows"]]
    assert errors == [None, "could not be answered; the log of the server says why", None]
    assert reply.json["rows"][0] == alone.json["rows"][0]
    assert log_lines == ["market: a row could not be answered: RuntimeError('a number below 0')"]


def test_a_short_request_passes_a_long_one(held, monkeypatch):
    monkeypatch.setattr(served_module.Served, "at_once", 4)
    with application(held, runners=1) as app:
        order = []

        async def one(name, count):
            reply = await send(app, "POST", "/predict", rows(*range(count)), JSON)
            order.append((name, len(reply.json["rows"])))

        async def race():
            long = asyncio.create_task(one("long", 40))
            await begun(held)
            short = asyncio.create_task(one("short", 3))
            await asyncio.sleep(0.05)
            held.one.release.set()
            await asyncio.gather(long, short)

        asyncio.run(race())
    assert order == [("short", 3), ("long", 40)]
    assert max(held.one.asked) == 4


def test_waiting_rows_of_several_requests_are_answered_together(held):
    with application(held, runners=1) as app:

        async def crowd():
            running = asyncio.create_task(send(app, "POST", "/predict", rows(0), JSON))
            await begun(held)
            others = [asyncio.create_task(send(app, "POST", "/predict", rows(i), JSON)) for i in range(5)]
            await asyncio.sleep(0.05)
            held.one.release.set()
            await asyncio.gather(running, *others)

        asyncio.run(crowd())
    assert held.one.asked == [1, 5]


def test_rows_of_two_models_are_never_mixed(held):
    other = table_model("other")
    with application(held, other, runners=1) as app:

        async def crowd():
            running = asyncio.create_task(send(app, "POST", "/models/market/predict", rows(0), JSON))
            await begun(held)
            names = ["other", "market", "other", "market"]
            asks = [
                asyncio.create_task(send(app, "POST", f"/models/{name}/predict", rows(i), JSON))
                for i, name in enumerate(names)
            ]
            await asyncio.sleep(0.05)
            held.one.release.set()
            return names, await asyncio.gather(*asks), await running

        names, replies, _ = asyncio.run(crowd())
    assert [reply.json["model"] for reply in replies] == names
    assert sum(held.one.asked) == 3
    assert sum(other.one.asked) == 2


def test_a_lone_request_gets_all_cores(held):
    """And one that comes while another is answered gets one."""
    wide = table_model().one
    market = served_module.Served("market", held.one, wide, "")
    with application(market, runners=2) as app:
        assert ask(app, "POST", "/predict", rows(1), JSON).status == 200
        assert (wide.asked, held.one.asked) == ([1], [])

        async def two():
            one = asyncio.create_task(send(app, "POST", "/predict", rows(1, 2), JSON))
            await begun(held)
            held.one.release.set()
            await one

        asyncio.run(two())
    assert sum(wide.asked) + sum(held.one.asked) == 3  # both rows at once where the other runner is late
    assert len(held.one.asked) >= 1
