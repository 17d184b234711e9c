"""`Digest(expected=...)`: a part that is not what it was said to be is refused.

Knows: RFC 1864, RFC 9530, manifests. Must not know: how a body is hashed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow import InvalidContent, MultipartReader, PartInfo, RouteError, Router
from mpflow.testing import PartSpec, body, content_type_of
from mpflow_handlers import Digest, Json, Save, Tee
from tests.handlers.support import descriptors, names, opened_since, part_of

pytestmark = pytest.mark.anyio

DATA = b'{"hello": "world"}\n'
HEX = hashlib.sha256(DATA).hexdigest()


def encoded(algorithm: str, data: bytes = DATA) -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def by_field(name: str, *values: str, data: bytes = DATA, **headers: str) -> Any:
    lines = [(name, value) for value in values]
    lines += [(key.replace("_", "-"), value) for key, value in headers.items()]
    return part_of(data, headers=lines)


# -- headers ----------------------------------------------------------------------------------


def test_the_digests_of_the_rfc() -> None:
    # RFC 9530, B.1, so that we and the tests do not share one mistake.
    told = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="
    assert encoded("sha256") == told


@pytest.mark.parametrize(
    ("field", "value", "algorithms"),
    [
        ("Content-MD5", encoded("md5"), ("md5",)),
        ("Content-Digest", f"sha-256=:{encoded('sha256')}:", ("sha256", "sha512")),
        ("Repr-Digest", f"sha-512=:{encoded('sha512')}:", ("sha256", "sha512")),
    ],
)
async def test_each_field(field: str, value: str, algorithms: tuple[str, ...]) -> None:
    handler = Digest(expected=field)
    assert handler.algorithms == algorithms
    digests = await handler(by_field(field, value))
    assert digests == {name: hashlib.new(name, DATA).hexdigest() for name in algorithms}
    with pytest.raises(InvalidContent) as caught:
        await handler(by_field(field, value, data=DATA + b"x"))
    assert caught.value.status == 422
    name = next(name for name in algorithms if encoded(name) in value)
    assert hashlib.new(name, DATA).hexdigest() in str(caught.value)
    assert hashlib.new(name, DATA + b"x").hexdigest() in str(caught.value)
    assert f"whose {name} is" in str(caught.value)
    assert "in part 0 'f'" in str(caught.value)


SHA = encoded("sha256")


@pytest.mark.parametrize(
    "lines",
    [
        [f"sha-256=:{SHA}:"],
        [f"sha-256=:{SHA.rstrip('=')}:"],
        [f"unixsum=:AAA=:,\tsha-256=:{SHA}: , x=:YQ==:"],
        [f'sha-256=:{SHA}:;a;b=?1; c="d\\", e";f=-1.5;g=t/o:k;h=:YQ==:;i=@17'],
        ["unixsum=:AAA=:", f"sha-256=:{SHA}:"],
        [f"sha-256=:AAAA:, sha-256=:{SHA}:"],  # RFC 9651, 4.2.2: the last one counts
    ],
)
async def test_dictionaries(lines: list[str]) -> None:
    digests = await Digest("sha256", expected="content-digest")(by_field("Content-Digest", *lines))
    assert digests == {"sha256": HEX}


@pytest.mark.parametrize(
    "lines",
    [
        ["sha-256"],
        [f"sha-256={SHA}"],
        [f'sha-256="{SHA}"'],
        [f"SHA-256=:{SHA}:"],
        [f"sha-256=:{SHA}:,"],
        [f"sha-256=:{SHA}: sha-512=:{SHA}:"],
        [f"sha-256 = :{SHA}:"],
        [f"sha-256=:{SHA}:;A=1"],
        [f"sha-256=:{SHA}:;a="],
        [f"sha-256=:{SHA}"],
        ["sha-256=:A=BC:"],
        ["sha-256=:A:"],
        ["sha-256=:A-_A:"],
        [f"(sha-256=:{SHA}:)"],
        [f"sha-256=:{SHA}:", ""],
        [""],
    ],
)
async def test_fields_that_are_no_dictionaries(lines: list[str]) -> None:
    with pytest.raises(InvalidContent, match=r"^Content-Digest: expected ") as caught:
        await Digest(expected="Content-Digest")(by_field("Content-Digest", *lines))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "lines", [["="], ["not base64"], [encoded("md5")[:-2]], [encoded("md5")] * 2, [""], ["YQ"]]
)
async def test_content_md5_that_is_none(lines: list[str]) -> None:
    part = by_field("Content-MD5", *lines)
    with pytest.raises(InvalidContent, match=r"^(Content-MD5: )?expected ") as caught:
        await Digest(expected="Content-MD5")(part)
    # A field of the right shape and the wrong length is a digest that no body has.
    assert caught.value.status == (422 if lines == [""] else 400)


@given(value=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
async def test_no_field_breaks_it(value: str) -> None:
    for name in ("Content-MD5", "Content-Digest"):
        with pytest.raises(InvalidContent):
            await Digest("md5", "sha256", expected=name)(by_field(name, value))


@pytest.mark.parametrize("lines", [[], ["crc32c=:AAAA:"], [f"md5=:{encoded('md5')}:"]], ids=str)
async def test_a_field_that_tells_nothing(lines: list[str]) -> None:
    part = by_field("Content-Digest", *lines)
    with pytest.raises(InvalidContent, match="a digest by sha256 or sha512 of this body, got none"):
        await Digest(expected="Content-Digest")(part)
    assert part.bytes_taken == 0  # it is refused before the body is read
    assert (await Digest("sha256", expected="Content-Digest", required=False)(part)) == {
        "sha256": HEX
    }


async def test_a_range_is_not_its_representation() -> None:
    value = f"sha-256=:{SHA}:"
    part = by_field("Repr-Digest", value, Content_Range="bytes 0-4/100")
    with pytest.raises(InvalidContent, match="of this body, got none"):
        await Digest(expected="Repr-Digest")(part)
    part = by_field("Content-Digest", value, Content_Range="bytes 0-4/100")
    assert (await Digest(expected="Content-Digest")(part))["sha256"] == HEX


async def test_whatever_the_route_undoes() -> None:
    packed = gzip.compress(DATA)
    spec = PartSpec(
        base64.b64encode(packed),
        name="f",
        headers={
            "Content-Encoding": "gzip",
            "Content-Transfer-Encoding": "base64",
            "Content-Digest": f"sha-256=:{encoded('sha256', packed)}:",
        },
    )
    for decode in ("transfer", "all", "none"):
        router = Router()
        digest = router.add(Digest("sha256", expected="Content-Digest"), decode=decode)  # type: ignore[arg-type]
        data = body([spec])
        reader = MultipartReader(data, content_type_of().replace("form-data", "mixed"))
        results = await router.dispatch(reader)
        assert results[digest] == {"sha256": hashlib.sha256(packed).hexdigest()}


# -- mappings and callables -------------------------------------------------------------------


@pytest.mark.parametrize("digest", [HEX, HEX.upper(), bytes.fromhex(HEX)], ids=str)
async def test_a_mapping(digest: str | bytes) -> None:
    handler = Digest("sha256", "md5", expected={"sha256": digest})
    assert list(await handler(part_of(DATA))) == ["sha256", "md5"]
    with pytest.raises(InvalidContent, match=f"sha256 is {HEX}"):
        await handler(part_of(b"other"))


def told_of(info: PartInfo, *, manifest: Mapping[str, Any]) -> Any:
    return manifest.get(info.filename or "")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (HEX, None),
        ({"sha256": HEX, "blake3": "zz"}, None),
        (hashlib.sha256(b"x").hexdigest(), f"got {HEX}"),
        ({"sha256": "zz"}, "in hexadecimal or bytes, got 'zz'"),
        ({"sha256": 5}, "in hexadecimal or bytes, got 5"),
        ({"sha256": [1]}, r"in hexadecimal or bytes, got \[1\]"),
        (5, "a digest, a mapping or None, got 5"),
        (True, "a digest, a mapping or None, got True"),
        ([HEX], "a digest, a mapping or None, got"),
        ({"md5": HEX}, "told a digest by sha256 of this part, and none is known"),
        (None, "told a digest by sha256 of this part, and none is known"),
    ],
    ids=str,
)
async def test_another_part_tells(tmp_path: Path, told: Any, message: str | None) -> None:
    router = Router()
    router.add(Json(), name="manifest")
    tee = Tee(Save(tmp_path), Digest("sha256", expected=told_of))
    router.add(tee, filename="?*", needs="manifest", key="file")
    data = body(
        [("manifest", json.dumps({"a.json": told})), PartSpec(DATA, name="f", filename="a.json")]
    )
    before = descriptors()
    if message is None:
        results = await router.dispatch(MultipartReader(data, content_type_of()))
        saved, digests = results["file"]
        assert (saved.path.read_bytes(), digests) == (DATA, {"sha256": HEX})
        return
    with pytest.raises(InvalidContent, match=message) as caught:
        await router.dispatch(MultipartReader(data, content_type_of()))
    assert caught.value.status == 422
    assert names(tmp_path) == []
    assert opened_since(before) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("part", lambda info, *, part: part), ("needs", lambda info, *, needs: needs)],
)
async def test_needs_that_are_called_like_our_own(name: str, expected: Any) -> None:
    router = Router()
    router.add(Json(), name="told")
    with pytest.raises(RouteError, match=f"unfilled parameter '{name}'"):
        router.add(Digest(expected=expected), name="f")
    route = router.add(Digest(expected=expected), name="f", needs={name: "told"})
    data = body([("told", json.dumps(HEX)), ("f", DATA)])
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert results[route] == {"sha256": HEX}


async def test_one_digest_for_several_algorithms() -> None:
    handler = Digest("sha256", "md5", expected=lambda info: HEX)
    with pytest.raises(InvalidContent, match="there are 2 algorithms"):
        await handler(part_of(DATA))


def test_what_can_never_be_told() -> None:
    for wrong, message in [
        ("ETag", "expected the header"),
        (HEX, "expected the header"),
        (5, "a mapping or a callable"),
        ({}, "empty mapping"),
        ({"md5": HEX}, "a digest by one of sha256"),
        ({"sha256": "xyz"}, "in hexadecimal"),
        ({"sha256": 5}, "in hexadecimal"),
        ("Content-MD5", "expected md5, which Content-MD5 tells"),
    ]:
        with pytest.raises(RouteError, match=message):
            Digest("sha256", expected=wrong)  # type: ignore[arg-type]


def test_what_it_needs_is_checked_when_it_is_registered() -> None:
    with pytest.raises(RouteError, match="unfilled parameter 'manifest'"):
        Router().add(Digest(expected=told_of))
    with pytest.raises(RouteError, match="unfilled parameter 'manifest'"):
        Router().add(Tee(Digest(expected=told_of)))
    with pytest.raises(RouteError, match="unknown parameter 'manifest'"):
        Router().add(Digest(), needs="manifest")


def test_it_is_a_value() -> None:
    assert Digest(expected={"sha256": HEX}) == Digest(expected={"sha256": bytes.fromhex(HEX)})
    assert Digest(expected="Content-MD5") == Digest("md5", expected="content-md5")
    assert hash(Digest(expected={"sha256": HEX})) != hash(Digest())
