"""Needs that can never be met, and handlers that do not take them: refused before a part comes.

Knows: routes, keys and what is given. Must not know: flows that run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mpflow import MultipartReader, Part, PartInfo, RouteError, Router
from mpflow.dependencies import check_needs, checked_given, need_faults
from mpflow.flow.needs import commit_order
from mpflow.routes import needs_of
from mpflow.testing import body, content_type_of
from mpflow_handlers import Nested, Save, Tee, Text


async def anything(part: Part, **needs: Any) -> None: ...


async def one(part: Part, one: object) -> None: ...


class TestRegistration:
    def test_a_parameter_that_the_handler_does_not_take(self) -> None:
        async def handler(part: Part) -> None: ...

        with pytest.raises(RouteError, match=r"unknown parameter 'user'.*handler does not take"):
            Router().add(handler, needs="user")

    def test_a_parameter_that_nothing_fills(self) -> None:
        with pytest.raises(RouteError, match="unfilled parameter 'one' of one"):
            Router().add(one)
        with pytest.raises(RouteError, match="unknown parameter 'two'"):
            Router().add(one, needs=["one", "two"])

    def test_a_positional_only_parameter_cannot_be_filled(self) -> None:
        async def handler(part: Part, one: object, /) -> None: ...

        with pytest.raises(RouteError, match="unknown parameter 'one'"):
            Router().add(handler, needs="one")

    def test_a_default_needs_no_need(self) -> None:
        async def handler(part: Part, one: object = None, *, two: object = None) -> None: ...

        Router().add(handler)
        Router().add(handler, needs="two")

    def test_the_part_itself_is_no_need(self) -> None:
        with pytest.raises(RouteError, match="unknown parameter 'part'"):
            Router().add(anything, needs="part")

    @pytest.mark.parametrize("needs", ["user-id", "", "1", "a b", ["fine", "not fine"]])
    def test_a_key_that_is_no_identifier_asks_for_a_mapping(self, needs: Any) -> None:
        with pytest.raises(RouteError, match="a mapping of parameter to key names another"):
            Router().add(anything, needs=needs)

    @pytest.mark.parametrize("needs", [1, [1], {"a": 1}, {1: "a"}, b"a", [("a", "b")]])
    def test_what_no_needs_are(self, needs: Any) -> None:
        with pytest.raises(RouteError, match="expected needs as keys"):
            Router().add(anything, needs=needs)

    def test_the_shapes_of_needs(self) -> None:
        assert needs_of(None) == {}
        assert needs_of("a") == {"a": "a"}
        assert needs_of(iter(["a", "b"])) == {"a": "a", "b": "b"}
        given = {"a": "user-id"}
        route = Router().add(anything, needs=given)
        given["b"] = "later"
        assert route.needs == {"a": "user-id"}

    def test_a_route_that_needs_its_own_key(self) -> None:
        router = Router()
        with pytest.raises(RouteError, match="one needs 'one', its own key: a part cannot wait"):
            router.add(one, name="one", needs="one")
        router.add(anything, name="a", key="k")
        with pytest.raises(RouteError, match="anything needs 'k', its own key"):
            router.add(anything, name="b", key="k", needs={"other": "k"})
        assert len(router.routes) == 1

    def test_order(self) -> None:
        assert Router().add(anything).order == "reject"
        wrong: Any = "wait"
        with pytest.raises(RouteError, match="expected order='reject' or 'spool'"):
            Router().add(anything, order=wrong)


class TestHandlersThatCallOthers:
    """`Save(name=...)`, `Tee` and `Nested` say by themselves what they have to be called with."""

    def test_a_name_with_an_unfilled_parameter(self, tmp_path: Path) -> None:
        def name(info: PartInfo, user: str) -> str:
            return user

        with pytest.raises(RouteError, match="unfilled parameter 'user'"):
            Router().add(Save(tmp_path, name))
        Router().add(Save(tmp_path, name), needs="user")
        with pytest.raises(RouteError, match="unfilled parameter 'user'"):
            Router().add(Tee(Text(), Save(tmp_path, name)))
        Router().add(Tee(Text(), Save(tmp_path, name)), needs="user")

    def test_a_child_of_a_tee(self) -> None:
        with pytest.raises(RouteError, match="unfilled parameter 'one'"):
            Router().add(Tee(Text(), one))
        Router().add(Tee(Text(), one), needs="one")
        with pytest.raises(RouteError, match="unfilled parameter 'one'"):
            Router().add(Tee(Text(), Tee(one)))

    def test_a_nested_router_says_what_it_needs(self) -> None:
        route = Router().add(Nested(Router(), needs={"user": "account"}))
        assert route.needs == {"user": "account"}
        route = Router().add(Tee(Text(), Nested(Router(), needs="user")), needs="other")
        assert route.needs == {"user": "user", "other": "other"}

    def test_a_route_that_contradicts_its_handler(self) -> None:
        with pytest.raises(RouteError, match="needs 'account' as 'user', and its route says 'x'"):
            Router().add(Nested(Router(), needs={"user": "account"}), needs={"user": "x"})

    def test_children_of_a_tee_that_contradict_each_other(self) -> None:
        tee = Tee(Nested(Router(), needs={"user": "a"}), Nested(Router(), needs={"user": "b"}))
        with pytest.raises(RouteError, match="needs 'a' as 'user', and another child needs 'b'"):
            Router().add(tee)


class TestTheTable:
    """What `router.flow()` refuses when it is called."""

    def refusal(self, router: Router, given: dict[str, object] | None = None) -> str:
        with pytest.raises(RouteError) as caught:
            router.wanted(given or {})
        return str(caught.value)

    def test_needs_that_nobody_declares(self) -> None:
        router = Router()
        router.add(one, needs="one")
        refusal = self.refusal(router)
        assert "route[0] to one (any_part()) needs 'one', which no route declares" in refusal
        assert router.wanted(["one"]) == frozenset()

    def test_the_name_of_a_route_by_a_glob_is_no_key(self) -> None:
        router = Router()
        router.add(anything, filename="one")
        router.add(one, needs="one")
        assert "which no route declares" in self.refusal(router)

    def test_a_route_that_is_added_later_counts(self) -> None:
        router = Router()
        router.add(one, name="x", needs="one")
        assert "which no route declares" in self.refusal(router)
        router.add(anything, name="one")
        assert router.wanted() == {"one"}

    def test_keys_that_are_declared_and_given(self) -> None:
        router = Router()
        router.add(anything, name="one")
        router.add(anything, name="two")
        text = self.refusal(router, {"two": 1, "one": 2, "three": 3})
        assert "got 'one', 'two': whose value counts?" in text

    def test_a_route_is_told_from_others_to_such_a_handler(self) -> None:
        router = Router()
        for key in ("a", "b", "c"):
            router.add(Tee(Text()), name=key, needs="zz" if key == "b" else ())
        assert "route[1] to Tee" in self.refusal(router)
        assert "('b') needs 'zz'" in self.refusal(router)

    def test_a_router_inside_is_told_by_its_route(self) -> None:
        inner, outer = Router(), Router()
        inner.add(anything, name="x")
        inner.add(one, name="y", needs="one")
        outer.add(Text(), name="one")
        outer.add(Nested(inner, needs="one"), name="fine")
        outer.add(Nested(inner), name="bad")
        assert self.refusal(outer) == (
            "in the router inside route[2] to Nested ('bad'): route[1] to one ('y') needs 'one', "
            "which no route declares and nobody gives"
        )

    def test_all_faults_with_their_routes(self) -> None:
        router = Router()
        first = router.add(anything, name="a", needs=["x", "y"])
        second = router.add(anything, name="b", needs="y")
        faults = need_faults(router.routes, frozenset(["a", "x"]))
        assert [(fault.key, fault.route) for fault in faults] == [
            ("a", None), ("y", first), ("y", second)
        ]  # fmt: skip

    def test_a_circle_has_a_route_of_it(self) -> None:
        router = Router()
        router.add(anything, name="start", needs="a")
        a = router.add(anything, name="a", needs="b", order="spool")
        router.add(anything, name="b", needs="a", order="spool")
        (fault,) = need_faults(router.routes, frozenset())
        assert (fault.key, fault.route) == ("b", a)

    def test_a_circle_behind_others(self) -> None:
        router = Router()
        router.add(anything, name="start", needs="a")
        router.add(anything, name="a", needs="b", order="spool")
        router.add(anything, name="b", needs=["fine", "c"], order="spool")
        router.add(anything, name="c", needs="a", order="spool")
        router.add(anything, name="fine")
        assert "can never be met: 'a' needs 'b' needs 'c' needs 'a'" in self.refusal(router)

    def test_a_need_of_a_route_without_key(self) -> None:
        router = Router()
        router.add(anything, name="a", needs="given")
        router.add(anything, needs="a")
        assert router.wanted(["given"]) == {"a"}
        assert "needs 'given', which no route declares" in self.refusal(router)

    def test_another_route_of_the_key_opens_the_circle(self) -> None:
        """Which of the two comes is known when it comes."""
        router = Router()
        router.add(anything, key="a", filename=True, needs="b", order="spool")
        router.add(anything, key="a", content_type="a/b")
        router.add(anything, name="b", needs="a", order="spool")
        assert check_needs(router.routes, frozenset()) == {"a", "b"}

    def test_only_what_is_needed_of_parts_is_wanted(self) -> None:
        router = Router()
        router.add(anything, name="a")
        router.add(anything, name="b")
        router.add(anything, name="c", needs=["a", "user"])
        assert router.wanted(["user"]) == {"a"}

    def test_many_callers_who_give_other_keys(self) -> None:
        router = Router()
        router.add(one, name="x", needs="one")
        for i in range(100):
            assert router.wanted(["one", f"other{i}"]) == frozenset()
            assert "which no route declares" in self.refusal(router, {f"other{i}": 1})

    def test_hundreds_of_routes_in_a_row(self) -> None:
        router = Router()
        router.add(anything, name="k0")
        for i in range(1, 300):
            router.add(anything, name=f"k{i}", needs=f"k{i - 1}")
        assert len(router.wanted()) == 299


def test_what_a_handler_class_needs_by_itself() -> None:
    class Own:
        needs = ("user",)

        @asynccontextmanager
        async def __call__(self, part: Part, user: str) -> AsyncGenerator[str, None]:
            yield user

    route = Router().add(Own())
    assert route.needs == {"user": "user"}
    assert route.two_phase is True


@pytest.mark.parametrize("given", [5, "a", [("a", 1)], {"a"}, {5: 1}, {"a": 1, None: 2}])
def test_what_cannot_be_given(given: object) -> None:
    with pytest.raises(RouteError, match=r"expected (given as a mapping|the keys of given as str)"):
        checked_given(given)


@pytest.mark.anyio
async def test_what_a_dispatch_is_called_with_is_looked_at_first() -> None:
    wrong: Any = "x"
    with pytest.raises(TypeError, match="expected a MultipartReader, got str"):
        await Router().dispatch(wrong)
    wrong = [("a", 1)]
    source = MultipartReader(body([]), content_type_of())
    with pytest.raises(
        RouteError, match=r"expected given as a mapping of keys to values, got \"\["
    ):
        await Router().dispatch(source, given=wrong)
    await Router().dispatch(source, given={"a": 1})  # nothing was read


def test_what_can_be_given_is_copied() -> None:
    given = {"a": 1}
    made = checked_given(MappingProxyType(given))
    given["b"] = 2
    assert made == {"a": 1}
    assert checked_given(None) == {}


def test_nothing_to_order() -> None:
    assert commit_order([]) == []
