"""What waits to be forwarded: when it is tried again, and when it is lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenserver.uploads.retries import (
    LIFE_SECONDS,
    MAX_DELAY_SECONDS,
    MAX_PAUSE_SECONDS,
    Item,
    RetryQueue,
)


def item(number: int, since: float = 0.0, size: int = 10) -> Item:
    return Item(f"{number:032x}", f"my-bucket/{number}", b"b" * size, since)


def test_items_are_tried_in_their_order() -> None:
    queue = RetryQueue()
    items = [item(number) for number in range(3)]
    for one in items:
        assert queue.add(one)

    assert [queue.take(0.0) for _ in range(4)] == [*items, None]
    assert len(queue) == 3  # until it is known that they are there
    for one in items:
        queue.succeeded(one)
    assert len(queue) == 0
    assert queue.wait_seconds(0.0) is None


def test_one_item_finds_out_whether_a_backend_is_back() -> None:
    queue = RetryQueue()
    for number in range(100):
        queue.add(item(number))
    tried = []
    now = 0.0
    while now < 300:
        if taken := queue.take(now):
            tried.append(now)
            assert queue.failed(taken, now, is_backend=True)
        now += 0.5

    assert tried[:6] == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
    gaps = [later - earlier for earlier, later in pairwise(tried)]
    assert max(gaps) == MAX_PAUSE_SECONDS
    assert len(tried) < 20


def test_all_go_as_soon_as_one_has_arrived() -> None:
    queue = RetryQueue()
    for number in range(100):
        queue.add(item(number))
    first = queue.take(0.0)
    assert first
    queue.failed(first, 0.0, is_backend=True)
    probe = queue.take(1.0)
    assert probe
    assert queue.take(1.0) is None
    assert queue.wait_seconds(1.0) is None

    queue.succeeded(probe)

    taken = [queue.take(1.0) for _ in range(99)]
    assert None not in taken  # first too, which is due
    assert queue.take(1.0) is None


def test_an_item_that_is_refused_holds_no_other_up() -> None:
    queue = RetryQueue()
    poison = item(0)
    queue.add(poison)
    for number in range(1, 4):
        queue.add(item(number))

    assert queue.take(0.0) is poison
    assert queue.failed(poison, 0.0, is_backend=False)

    others = [queue.take(0.0) for _ in range(3)]
    assert None not in others
    assert queue.take(0.9) is None
    assert queue.take(1.0) is poison


def test_those_under_way_when_a_backend_went_down_count_as_one_failure() -> None:
    queue = RetryQueue()
    for number in range(4):
        queue.add(item(number))
    under_way = [queue.take(0.0) for _ in range(4)]
    for one in under_way:
        assert one
        queue.failed(one, 0.0, is_backend=True)

    assert queue.wait_seconds(0.0) == 1.0


@pytest.mark.parametrize("is_backend", [True, False])
def test_after_ten_minutes_an_item_is_lost(is_backend: bool) -> None:
    queue = RetryQueue()
    one = item(0)
    queue.add(one)
    now, kept = 0.0, True
    while kept:
        assert now < LIFE_SECONDS + MAX_DELAY_SECONDS
        if taken := queue.take(now):
            kept = queue.failed(taken, now, is_backend)
        now += 1.0

    assert now > LIFE_SECONDS
    assert 10 <= one.attempts <= 25
    assert len(queue) == 0


def test_what_was_not_tried_for_ten_minutes_is_lost_too() -> None:
    queue = RetryQueue()
    for number in range(10):
        queue.add(item(number, since=number))

    assert len(queue.expired(LIFE_SECONDS + 4)) == 5
    assert len(queue) == 5


def test_the_queue_is_bounded_in_bytes() -> None:
    queue = RetryQueue(max_bytes=10_000)
    accepted = [item(number, size=500) for number in range(50)]
    accepted = [one for one in accepted if queue.add(one)]

    assert len(accepted) == 10
    queue.succeeded(queue.take(0.0) or item(0))
    assert queue.add(item(99, size=500))
    assert not queue.add(item(100, size=500))


class Model:
    """A queue, and what a simple reader of its documentation expects of it."""

    def __init__(self) -> None:
        self.queue = RetryQueue(max_bytes=20 * item(0).size)
        self.now, self.numbers = 0.0, 0
        self.waiting: set[Item] = set()
        self.under_way: list[Item] = []

    def add(self, _amount: int) -> None:
        one = item(self.numbers, since=self.now)
        self.numbers += 1
        if self.queue.add(one):
            self.waiting.add(one)
        else:
            assert len(self.waiting) + len(self.under_way) == 20

    def take(self, _amount: int) -> None:
        if taken := self.queue.take(self.now):
            self.waiting.remove(taken)
            self.under_way.append(taken)

    def wait(self, amount: int) -> None:
        self.now += amount

    def expire(self, amount: int) -> None:
        self.waiting -= set(self.queue.expired(self.now + amount * 30))

    def succeed(self, amount: int) -> None:
        if self.under_way:
            self.queue.succeeded(self.under_way.pop(amount % len(self.under_way)))

    def fail(self, amount: int) -> None:
        if self.under_way:
            one = self.under_way.pop(amount % len(self.under_way))
            if self.queue.failed(one, self.now, is_backend=amount % 2 == 0):
                self.waiting.add(one)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "take", "wait", "expire", "succeed", "fail"]),
            st.integers(0, 30),
        ),
        max_size=80,
    )
)
def test_no_item_is_forgotten_and_none_tried_twice_at_once(
    steps: list[tuple[str, int]],
) -> None:
    model = Model()
    for step, amount in steps:
        getattr(model, step)(amount)
        assert len(model.queue) == len(model.waiting) + len(model.under_way)
    for one in model.under_way:
        model.queue.succeeded(one)
    assert set(model.queue.clear()) == model.waiting
    assert model.queue._bytes == 0
