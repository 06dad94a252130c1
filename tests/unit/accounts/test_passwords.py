"""Which passwords are taken, and how they are hashed and checked."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from argon2 import PasswordHasher

from medxz.accounts.common_passwords import is_common
from medxz.accounts.passwords import HASHER, Passwords, check_password, is_lawful_hash
from medxz.errors import Invalid, Overloaded
from medxz.work import InlineWorker, ThreadWorker

QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
GOOD = "seven kettles boil slowly"

TRIED_FIRST = [
    "password1234", "Password1234!", "P@ssw0rd1234", "p4ssw0rd2024!", "passwordpassword", "PASSWORD PASSWORD",
    "123456789012", "098765432109", "000000000000", "121212121212", "abcabcabcabc", "qwertyuiop12", "qwerty123456",
    "123456qwerty", "1q2w3e4r5t6y", "1qaz2wsx3edc", "qazwsxedcrfv", "asdfghjkl123", "zxcvbnm12345", "abcdefghijkl",
    "iloveyou1234", "ILoveYou!!2025", "administrator", "Administrator1", "letmein12345", "Welcome12345", "welcome-2025!!!",
    "changeme1234", "superman1234", "princess1234", "football2024", "michael12345", "christopher1", "trustno1trustno1",
    "thisismypassword", "mynewpassword", "adminpassword", "password123admin", "summer2025!!!", "Hospital1234",
    "aaaaaaaaaaaa", "qwertzuiop123", "azertyuiop12", "a1b2c3d4e5f6", "112233445566", "!!!!!!!!!!!!", "!@#$%^&*()_+",
]  # fmt: skip


@pytest.mark.parametrize("password", TRIED_FIRST)
def test_what_is_tried_first_is_not_taken(password: str) -> None:
    """A password that leads the lists, and its usual variations, is refused."""
    assert len(password) >= 12
    with pytest.raises(Invalid, match="tried first") as refusal:
        check_password(password, "ada@example.org", "North Clinic")
    assert refusal.value.field == "password"


@pytest.mark.parametrize(
    "password",
    [
        GOOD, "correct horse battery staple", "dragon monkey football", "löwenzahn-im-mörser", "829104637251",
        "xkqjzvwpmbtr", "aaaaaaaaaaab kettle", "ночной экспресс", "夜行列車はまだ駅にいるよね", "my cat sleeps on the roof",
    ],
)  # fmt: skip
def test_what_is_nobody_s_first_try_is_taken(password: str) -> None:
    """No rule asks for digits or signs: long and uncommon is enough, in any script."""
    check_password(password, "ada@example.org", "North Clinic")


def test_length_is_counted_in_characters() -> None:
    """12 characters are enough and 128 are not too many, as NFKC counts them."""
    for password in ("short", "elevenchars", "x" * 129, "ﬁ" * 5):
        with pytest.raises(Invalid, match="12 to 128"):
            check_password(password, "ada@example.org", "North Clinic")
    check_password("ﬁneﬁshﬀﬁ", "", "")
    check_password("kettle" * 21 + "zz", "", "")


@pytest.mark.parametrize(
    "password",
    [
        "ada.lovelace@example.org",
        "Ada.Lovelace@Example.org!",
        "ada.lovelace12345",
        "N0rth-River-Clinic",
        "NorthRiverClinic99",
    ],
)
def test_the_person_s_own_names_are_not_taken(password: str) -> None:
    """The address, its first half and the clinic's name are refused, with digits and signs around them or for letters."""
    with pytest.raises(Invalid, match="must not be"):
        check_password(password, "ada.lovelace@example.org", "North River Clinic")


def test_no_common_password_is_slow() -> None:
    """The longest lawful password is looked through in no time."""
    begun = time.perf_counter()
    for password in ("a" * 64 + "qwertz" * 10, "abcdefgh" * 16, "passw0rd" * 15 + "x"):
        is_common(password)
    assert time.perf_counter() - begun < 0.5


async def test_a_hash_is_argon2id_and_checks() -> None:
    """What is kept is Argon2id with the parameters of the program, and the right password alone checks."""
    passwords = Passwords([ThreadWorker("passwords")])
    kept = await passwords.hash(GOOD)
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert (await passwords.check(GOOD, kept)).ok
    assert (await passwords.check(GOOD, kept)).renewed is None
    assert not (await passwords.check(GOOD + ".", kept)).ok
    assert not (await passwords.check(GOOD, "no hash")).ok
    passwords.close()


async def test_forms_of_one_text_are_one_password() -> None:
    """A password typed on another keyboard, composed or not, is the same."""
    passwords = Passwords([InlineWorker()], QUICK)
    kept = await passwords.hash("löwenzahn-im-garten")
    assert (await passwords.check("lo\u0308wenzahn-im-garten", kept)).ok


async def test_other_parameters_are_hashed_anew() -> None:
    """A right password whose hash was made by other parameters comes back with a hash by those of now."""
    old = await Passwords([InlineWorker()], QUICK).hash(GOOD)
    now = Passwords([InlineWorker()], PasswordHasher(time_cost=2, memory_cost=128, parallelism=1))
    checked = await now.check(GOOD, old)
    assert checked.renewed is not None
    assert "m=128,t=2" in checked.renewed
    assert (await now.check(GOOD, checked.renewed)).renewed is None
    assert (await now.check("wrong " + GOOD, old)).renewed is None


async def test_nobody_is_found_out_as_slowly() -> None:
    """Somebody who is not there costs the same hashing as somebody who is."""
    hasher = PasswordHasher(time_cost=2, memory_cost=16 * 1024, parallelism=1)
    passwords = Passwords([InlineWorker()], hasher)
    kept = await passwords.hash(GOOD)
    assert not (await passwords.check("the password of nobody", None)).ok

    async def seconds(held: str | None) -> float:
        best = 9.0
        for _ in range(5):
            begun = time.perf_counter()
            await passwords.check("a wrong password", held)
            best = min(best, time.perf_counter() - begun)
        return best

    here, nobody = await seconds(kept), await seconds(None)
    assert nobody > 0.5 * here
    assert here > 0.5 * nobody


class Gated:
    """A worker that begins when it is let, and counts how many run at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.worker = ThreadWorker("gated")

    async def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        def waiting() -> Any:
            assert self.go.wait(30)
            return fn(*args)

        return await self.worker.run(waiting)

    def close(self) -> None:
        self.worker.close()


async def test_so_many_wait_and_no_more() -> None:
    """Beyond what may wait the answer is 503 at once, and those who waited are served."""
    workers: list[Any] = [Gated(), Gated()]
    passwords = Passwords(workers, QUICK, waiting_max=3)
    waiting = [asyncio.create_task(passwords.hash(GOOD)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refusal:
        await passwords.hash(GOOD)
    assert refusal.value.retry_after_s
    for worker in workers:
        worker.go.set()
    assert len({await one for one in waiting}) == 5
    assert await passwords.hash(GOOD)
    passwords.close()


def test_the_parameters_are_those_that_were_meant() -> None:
    """The program's hashes cost 64 MiB and three passes."""
    assert (HASHER.memory_cost, HASHER.time_cost, HASHER.type.name) == (65_536, 3, "ID")


@pytest.mark.parametrize(
    ("memory", "passes", "fits"),
    [(65_536, 3, True), (65_536, 6, True), (65_536, 7, False), (131_072, 3, True), (131_072, 4, False), (8_192, 10, True)],
)  # fmt: skip
def test_what_a_hash_from_elsewhere_may_cost(memory: int, passes: int, fits: bool) -> None:
    """Checking a password against a hash that somebody brings costs at most twice what one of ours does."""
    text = f"$argon2id$v=19$m={memory},t={passes},p=1$" + "A" * 22 + "$" + "A" * 43
    assert is_lawful_hash(text) is fits
