"""The normal form of identifiers. Digests in the index depend on it: this table may grow and must never change."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.identifiers import BadIdentifier, Identifier, IdentifierKind, normalise

NORMAL_FORMS: dict[str, dict[str, list[str]]] = {
    "email": {
        "anna@example.org": [
            "anna@example.org",
            "Anna@Example.ORG",
            "  anna@example.org\r\n",
            "\u00a0anna@example.org\u3000",
            "\ufeffanna@example.org",
            "anna@exam\u00adple.org",
            "anna\u200b@example.org",
            "\u202aanna@example.org\u202c",
        ],
        "zoë.åström@exämple.se": [
            "Zoë.Åström@Exämple.se",
            "Zoe\u0308.A\u030astro\u0308m@Exa\u0308mple.se",
            "ZOË.ÅSTRÖM@EXÄMPLE.SE",
            "zoë.\u212bström@exämple.se",  # the ångström sign
        ],
        "o'brien+news@mail.example.com": ["O'Brien+News@mail.example.com"],
        "user_name-1@sub.example.co.uk": ["USER_name-1@SUB.example.co.uk"],
        "a..b@docomo.example": ["a..b@docomo.example"],  # against the rules, and in use
        "root@localhost": ["root@localhost"],
        "пётр@пример.рф": ["Пётр@Пример.РФ", "Пе\u0308тр@пример.рф"],
        "用户@例子.公司": ["用户@例子.公司"],
        "straße@example.de": ["Straße@example.de"],  # strasse@ is somebody else
    },
    "phone": {
        "+491701234567": [
            "+491701234567",
            "+49 170 1234567",
            "+49 (0)170 / 123 45 67",
            "+49 (0) 170-123-4567",
            "0049 170 1234567",
            "00491701234567",
            "(+49) 170.1234567",
            "+49\u00a0170\u2011123\u20134567",
            "+49 170 1234567\n",
            "\u202a+49 170 1234567\u202c",
            "＋４９　１７０（１２３）４５６７",
        ],
        "+12025550143": ["+1 (202) 555-0143", "+1.202.555.0143", "001 202 555 0143", "+1-202-555-0143"],
        "+442079460958": ["+44 (0)20 7946 0958", "+44 20 7946 0958", "+44\u2212207\u2212946\u22120958"],
        "+390612345678": ["+39 06 1234 5678", "+39 (0)6 1234 5678", "0039 (0)6 12345678"],
        "+3780549123456": ["+378 0549 123456", "+378 (0)549 123456"],
        "+6421123456": ["+64 21 123 456"],
        "+2902345": ["+290 2345"],
        "+123456789012345": ["+123456789012345"],
    },
    "user_id": {
        "184467": ["184467", " 184467 ", "184467\n"],
        "Anna": ["Anna"],
        "anna": ["anna"],
        "Zoë": ["Zoë", "Zoe\u0308"],
        "a b": ["a b", "\ta b"],
    },
    "external_id": {"crm:AB/12-x": ["crm:AB/12-x"], "٠١٢": ["٠١٢"]},
    "username": {"می\u200cخواهم": ["می\u200cخواهم"], "@anna": ["@anna"]},  # the joiner is spelling there
    "device_id": {"550e8400-e29b-41d4-a716-446655440000": ["550e8400-e29b-41d4-a716-446655440000 "]},
}
SPELLINGS = [
    (kind, spelling, normal)
    for kind, table in NORMAL_FORMS.items()
    for normal, spellings in table.items()
    for spelling in spellings
]


@pytest.mark.parametrize("kind, spelling, normal", SPELLINGS, ids=ascii)
def test_normal_form(kind: str, spelling: str, normal: str) -> None:
    assert normalise(kind, spelling) == normal
    assert normalise(kind, normal) == normal
    assert Identifier.of(IdentifierKind(kind), spelling) == Identifier(IdentifierKind(kind), normal)


REFUSED = [
    ("email", "", "empty"),
    ("email", " \t\u200b", "empty"),
    ("email", "anna", "one @"),
    ("email", "@example.org", "one @"),
    ("email", "anna@", "one @"),
    ("email", "anna@home@example.org", "one @"),
    ("email", "anna@example.org, bo@example.org", "one @"),
    ("email", "an na@example.org", "white space"),
    ("email", "anna@exam\u00a0ple.org", "white space"),
    ("email", "anna\0@example.org", "control"),
    ("email", "anna@example.org\udc80", "control"),
    ("email", "<anna@example.org>", "bare address"),
    ("email", '"anna"@example.org', "bare address"),
    ("email", "mailto:anna@example.org", "bare address"),
    ("email", "anna@example.org;", "bare address"),
    ("email", "anna(work)@example.org", "bare address"),
    ("email", "anna@example..org", "empty part"),
    ("email", "anna@.example.org", "empty part"),
    ("email", "anna@example.org.", "empty part"),
    ("email", "a" * 250 + "@example.org", "longer than 254"),
    ("email", "İ" * 125 + "@example.org", "longer than 254"),  # its lower case is two characters
    ("phone", "", "empty"),
    ("phone", "0170 1234567", "country code"),
    ("phone", "(0)170 1234567", "country code"),
    ("phone", "491701234567", "country code"),
    ("phone", "+49 170", "E.164"),
    ("phone", "+0 170 1234567", "E.164"),
    ("phone", "+1234567890123456", "E.164"),
    ("phone", "+49 170 CALL NOW", "E.164"),
    ("phone", "+49 170 1234567 ext. 9", "E.164"),
    ("phone", "+49 170 1234567#9", "E.164"),
    ("phone", "+49 170 1234567\0", "E.164"),
    ("phone", "+49+1701234567", "E.164"),
    ("phone", "+٤٩١٧٠١٢٣٤٥٦٧", "E.164"),
    ("phone", "tel:+491701234567", "country code"),
    ("user_id", " \n", "empty"),
    ("user_id", "18\x0044", "control"),
    ("user_id", "18\n44", "control"),
    ("user_id", "18\ud80044", "control"),
    ("user_id", "x" * 255, "longer than 254"),
]


@pytest.mark.parametrize("kind, text, reason", REFUSED, ids=ascii)
def test_refused_with_a_reason_that_quotes_nothing(kind: str, text: str, reason: str) -> None:
    with pytest.raises(BadIdentifier, match=reason) as refused:
        normalise(kind, text)
    assert refused.value.kind is IdentifierKind(kind)
    assert not (len(text.strip()) > 2 and text.strip() in str(refused.value))


def test_the_table_has_no_form_twice() -> None:
    for table in NORMAL_FORMS.values():
        spellings = [spelling for all_of_one in table.values() for spelling in all_of_one]
        assert len(spellings) == len(set(spellings))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="shoe_size"):
        normalise("shoe_size", "44")


KINDS = st.sampled_from(IdentifierKind)
LETTERS = st.characters(categories=["L", "M", "N"])
ADDRESSES = st.builds(
    "{}@{}.{}".format,
    st.text(LETTERS, min_size=1, max_size=9),
    st.text(LETTERS, min_size=1, max_size=9),
    st.text("abc", min_size=2),
)
NUMBERS = st.builds("+{}{}".format, st.integers(1, 999), st.text("0123456789", min_size=6, max_size=12))
SPACES = st.text(" \t\n\r\u00a0\u2003\u3000\ufeff\u200b\u200e\u202c", max_size=3)


@given(KINDS, st.text(max_size=60) | ADDRESSES | NUMBERS)
def test_normalising_twice_changes_nothing(kind: IdentifierKind, text: str) -> None:
    try:
        once = normalise(kind, text)
    except BadIdentifier:
        return
    assert normalise(kind, once) == once
    assert unicodedata.is_normalized("NFC", once)


@given(KINDS, ADDRESSES | NUMBERS, SPACES, SPACES)
def test_composition_and_space_around_do_not_matter(kind: IdentifierKind, text: str, before: str, after: str) -> None:
    try:
        normal = normalise(kind, text)
    except BadIdentifier:
        return
    for form in ("NFC", "NFD"):
        assert normalise(kind, before + unicodedata.normalize(form, text) + after) == normal


@given(ADDRESSES)
def test_case_does_not_matter_in_an_address(text: str) -> None:
    # Letters whose upper case has no way back (ß, dotless i, final sigma) are other letters, not another case.
    assume(text.upper().lower() == text.lower())
    assert normalise("email", text.upper()) == normalise("email", text.lower()) == normalise("email", text)


@given(NUMBERS, st.data())
def test_separators_do_not_matter_in_a_number(text: str, data: st.DataObject) -> None:
    assume(len(text) <= 16)
    gaps = data.draw(
        st.lists(st.sampled_from(["", " ", "-", ".", "/", "\u00a0", "\u2011"]), min_size=len(text), max_size=len(text))
    )
    spaced = "".join(character + gap for character, gap in zip(text, gaps, strict=True))
    assert normalise("phone", spaced) == text
    assert normalise("phone", "00" + spaced.removeprefix("+")) == text
