"""The people of the sample stores: two tenants, six languages, and every coincidence that an erasure must survive.

Everything follows from the seed. Within a tenant nobody else has a subject's name, e-mail, street, IP address or
external id, so whoever finds one of these after an erasure has found that subject. On purpose:

* user ids count from 1001 in both tenants, so every id of the smaller tenant exists in the larger one too;
* some people are customers of both tenants, with one e-mail and one phone (*twins*);
* some phones belong to different people of the two tenants, and some to a household within one tenant;
* some addresses end with another subject's whole address (``rossi@…`` and ``anna.rossi@…``), so that whoever
  replaces text without looking at its borders damages a bystander.

Addresses are in reserved domains; phones come from blocks reserved for fiction where a country has such.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

TENANTS = ("acme", "globex")
FIRST_USER_ID = 1001

_TWINS = 0.1  # share of the smaller tenant who are customers of the larger one too
_STRANGERS = 0.01  # share whose phone belongs to somebody else at the other tenant
_HOUSEHOLDS = 0.01  # share whose phone belongs to somebody else at the same tenant
_SUFFIXES = 0.01  # share whose address ends with another's address
_EDGE_MINIMUM = 2  # of each of these at least, however few people there are


@dataclass(frozen=True, slots=True)
class Subject:
    """One customer of one tenant, with everything that identifies them in any of the five stores."""

    tenant: str
    user_id: int
    external_id: str
    email: str  # in normal form, as are the others
    alternate_emails: tuple[str, ...]
    phone: str
    name: str
    language: str
    locale: str
    time_zone: str
    street: str
    city: str
    postcode: str
    country: str
    ip: str
    visitor_ids: tuple[str, ...]  # chat knows one person as several visitors
    email_elsewhere: bool = False  # another tenant has somebody of the same address
    phone_elsewhere: bool = False  # another tenant has somebody of the same phone
    phone_at_home: bool = False  # somebody else of this tenant has the same phone

    @property
    def key(self) -> tuple[str, int]:
        return self.tenant, self.user_id

    @property
    def first_name(self) -> str:
        """What an agent calls them: the given name, or the family name where that is the custom."""
        return self.name.split(" ")[0]

    @property
    def emails(self) -> tuple[str, ...]:
        return self.email, *self.alternate_emails


@dataclass(frozen=True, slots=True)
class _Country:
    language: str
    locale: str
    time_zone: str
    code: str
    phones: tuple[str, ...]  # prefixes, with the number of digits that follow after a colon
    given: str
    family: str
    streets: str
    cities: str  # "city:postcode prefix"


_GB_AREAS = (7700900, 1134960, 1144960, 1174960, 1214960, 1314960, 1414960, 1614960)
_GB_PHONES = tuple(f"+44{area}:3" for area in _GB_AREAS)
_US_AREAS = (205, 212, 303, 305, 312, 404, 415, 503, 512, 602, 612, 617, 702, 713, 808, 907)
_US_PHONES = tuple(f"+1{area}55501:2" for area in _US_AREAS)
_COUNTRIES = (
    _Country(
        "en", "en-GB", "Europe/London", "GB", _GB_PHONES,
        "Alice Oliver Emily Harry Sophie Jack Grace Thomas Chloe James Lucy Daniel Hannah Samuel Megan Owen Ruth Adam",
        "Carter Bennett Hughes Walsh Fletcher Marsh O'Brien Palmer Sutton Bradley Nash Whitfield Norris Doyle Pike",
        "Mill Lane|Station Road|Church Street|Victoria Avenue|Park Row|Queens Close",
        "Bristol:BS1|Leeds:LS2|Edinburgh:EH3|Norwich:NR1",
    ),
    _Country(
        "en", "en-US", "America/New_York", "US", _US_PHONES,
        "Ethan Madison Logan Abigail Mason Harper Caleb Natalie Wyatt Paige Dylan Brooke Jordan Sierra Cole Jenna",
        "Reed Coleman Hayes Jenkins Perry Sanders Foster Bryant Griffin Dawson Mercer Holt Vaughn Ramsey Lowe Kemp",
        "Maple Street|Oak Avenue|2nd Street|Lakeview Drive|Sunset Boulevard|Elm Court",
        "Boston:021|Chicago:606|Denver:802|Austin:787",
    ),
    _Country(
        "it", "it-IT", "Europe/Rome", "IT", ("+39310:7", "+39311:7", "+39312:7"),
        "Anna Marco Giulia Luca Chiara Matteo Elena Davide Sara Paolo Francesca Andrea Valentina Simone Irene Nicolò",
        "Rossi Bianchi Ferrari Esposito Romano Colombo Ricci Marino Greco Bruno Gallo Conti Mancini Costa Giordano",
        "Via Garibaldi|Via Roma|Corso Italia|Via Mazzini|Piazza Dante|Viale Europa",
        "Milano:201|Torino:101|Bologna:401|Napoli:801",
    ),
    _Country(
        "de", "de-DE", "Europe/Berlin", "DE", ("+493023125:3", "+496990009:3", "+494066969:3", "+498999998:3"),
        "Jonas Lena Felix Marie Lukas Katharina Moritz Johanna Tobias Ömer Greta Stefan Ute Jürgen Heike Bastian",
        "Müller Schmidt Weber Wagner Becker Hoffmann Schäfer Koch Richter Krüger Vogel Lorenz Böhm Winkler Seidel",
        "Lindenstraße|Bahnhofstraße|Gartenweg|Schillerplatz|Am Markt|Goethestraße",
        "Berlin:101|Hamburg:200|Köln:506|Leipzig:041",
    ),
    _Country(
        "fr", "fr-FR", "Europe/Paris", "FR", ("+3363998:4",),
        "Élodie Camille Hugo Manon Louis Inès Théo Clara Antoine Léa Julien Margaux Baptiste Océane Rémi Aurélie",
        "Martin Dubois Lefèvre Moreau Girard Fournier Mercier Bonnet François Garnier Chevalier Renard Perrin Gauthier",
        "rue de la Paix|avenue Victor Hugo|rue des Lilas|boulevard Voltaire|place du Marché|rue Pasteur",
        "Lyon:690|Nantes:440|Lille:590|Toulouse:310",
    ),
    _Country(
        "es", "es-ES", "Europe/Madrid", "ES", ("+34600:6", "+34611:6", "+34622:6"),
        "Lucía Pablo Carmen Álvaro Marta Diego Pilar Sergio Nuria Javier Inmaculada Rubén Alba Gonzalo Rocío Íñigo",
        "García Fernández López Sánchez Gómez Jiménez Ruiz Díaz Serrano Ortega Castillo Núñez Iglesias Cabrera Vega",
        "Calle Mayor|Avenida de la Constitución|Calle del Sol|Paseo del Prado|Calle Real|Plaza Nueva",
        "Madrid:280|Valencia:460|Sevilla:410|Bilbao:480",
    ),
    _Country(
        "ja", "ja-JP", "Asia/Tokyo", "JP", ("+81901000:4", "+81801001:4", "+81701002:4"),
        "翔太=shota 美咲=misaki 大輔=daisuke 由美子=yumiko 直樹=naoki 恵=megumi 拓也=takuya 香織=kaori 誠=makoto 彩=aya",
        "佐藤=sato 鈴木=suzuki 高橋=takahashi 田中=tanaka 渡辺=watanabe 伊藤=ito 山本=yamamoto 中村=nakamura "
        "小林=kobayashi 加藤=kato 吉田=yoshida 松本=matsumoto 井上=inoue 木村=kimura 清水=shimizu 斎藤=saito",
        "桜通り|中央通り|本町|緑町|旭町|栄町",
        "東京:100|大阪:530|札幌:060|福岡:810",
    ),
)  # fmt: skip
_DOMAINS = ("example.com", "example.org", "example.net", "mail.example", "post.example", "inbox.example")


def people(subjects: int = 2000, seed: int = 1) -> tuple[Subject, ...]:
    """``subjects`` people of the two tenants, the first having three in five of them; ordered by tenant and user id.

    Raises ``ValueError`` below 40 (no room for the coincidences that samples are for) and above 10,000 (the blocks
    of phones reserved for fiction would be used up).
    """
    if not 40 <= subjects <= 10_000:
        raise ValueError("between 40 and 10,000 subjects")
    smaller_count = subjects * 2 // 5
    larger = _Tenant(TENANTS[0], seed).people(subjects - smaller_count)
    smaller = _Tenant(TENANTS[1], seed).people(smaller_count)
    rng = Random(f"{seed}:coincidences")
    _share_across(larger, smaller, rng)
    for tenant in (larger, smaller):
        _share_at_home(tenant, rng)
        _nest_addresses(tenant, rng)
    return (*_marked(larger, smaller), *_marked(smaller, larger))


class _Tenant:
    """Makes people of one tenant in the order of their user ids, no two alike in anything that identifies them."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._rng = Random(f"{seed}:{name}")
        self._names = {country.locale: _names(country, self._rng) for country in _COUNTRIES}
        self._taken: set[str] = set()

    def people(self, count: int) -> list[Subject]:
        return [self._subject(number) for number in range(count)]

    def _subject(self, number: int) -> Subject:
        rng = self._rng
        country = rng.choice(_COUNTRIES)
        name, latin = next(self._names[country.locale])
        city, postcode = rng.choice(country.cities.split("|")).split(":")
        return Subject(
            tenant=self._name,
            user_id=FIRST_USER_ID + number,
            external_id=f"{self._name[:2].upper()}-{rng.randrange(10**5):05d}-{number:05d}",
            email=self._unused(lambda: _address(latin, rng)),
            alternate_emails=tuple(
                self._unused(lambda: _address(latin, rng)) for _ in range(rng.choice((0, 0, 0, 1, 2)))
            ),
            phone=self._unused(lambda: _phone(country, rng)),
            name=name,
            language=country.language,
            locale=country.locale,
            time_zone=country.time_zone,
            street=self._unused(lambda: _street(country, rng)),
            city=city,
            postcode=f"{postcode}{rng.randrange(100):02d}",
            country=country.code,
            # The carriers' shared range (RFC 6598): looks like a customer's address and reaches nobody.
            ip=f"100.{64 + TENANTS.index(self._name)}.{number // 250}.{1 + number % 250}",
            visitor_ids=tuple(random_uuid(rng) for _ in range(rng.choice((1, 1, 2)))),
        )

    def _unused(self, make: Callable[[], str]) -> str:
        """The first value of ``make()`` that nobody of the tenant has; nobody will have it again."""
        while (value := make()) in self._taken:
            pass
        self._taken.add(value)
        return value


def random_uuid(rng: Random) -> str:
    """A version 4 UUID from ``rng``, so that a seed gives the same one again."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _names(country: _Country, rng: Random) -> Iterator[tuple[str, str]]:
    """Full names and what an address is made of, shuffled, each once; with a middle initial when they run out."""
    given = [part.partition("=") for part in country.given.split()]
    family = [part.partition("=") for part in country.family.split()]
    pairs = [(g, f) for g in given for f in family]
    rng.shuffle(pairs)
    yield from (_name(country, g, f, "") for g, f in pairs)
    for middle in "ABCDEFGHJKLMNPRSTVWXYZ":
        rng.shuffle(pairs)
        yield from (_name(country, g, f, middle) for g, f in pairs)
    for count in range(2, 1_000_000):
        yield from (_name(country, g, f, f"{count}.") for g, f in pairs)


def _name(country: _Country, given: tuple[str, str, str], family: tuple[str, str, str], middle: str) -> tuple[str, str]:
    latin = f"{_ascii(given[2] or given[0])} {_ascii(family[2] or family[0])}"
    if country.language == "ja":
        return f"{family[0]} {middle}{given[0]}", latin
    between = f" {middle.removesuffix('.')}. " if middle else " "
    return f"{given[0]}{between}{family[0]}", latin


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return plain.replace("'", "").lower()


def _address(latin: str, rng: Random) -> str:
    given, family = latin.split(" ")
    local = rng.choice(
        (f"{given}.{family}", f"{family}.{given}", f"{given[0]}.{family}", f"{given}{family}", f"{given}_{family}")
    )
    number = rng.choice(
        ("", "", str(rng.randrange(1950, 2008)), str(rng.randrange(10, 100)), f"+{rng.choice(('shop', 'news'))}")
    )
    return f"{local}{number}@{rng.choice(_DOMAINS)}"


def _phone(country: _Country, rng: Random) -> str:
    prefix, _, digits = rng.choice(country.phones).partition(":")
    return prefix + "".join(str(rng.randrange(10)) for _ in range(int(digits)))


def _street(country: _Country, rng: Random) -> str:
    street, number = rng.choice(country.streets.split("|")), rng.randrange(1, 2000)
    return f"{number} {street}" if country.language in {"en", "fr"} else f"{street} {number}"


def _edge(share: float, count: int) -> int:
    return max(_EDGE_MINIMUM, round(share * count))


def _share_across(larger: list[Subject], smaller: list[Subject], rng: Random) -> None:
    """Make twins (one person at both tenants) and strangers (one phone, two people) of the smaller tenant, in place."""
    twins, strangers = _edge(_TWINS, len(smaller)), _edge(_STRANGERS, len(smaller))
    theirs = {text for one in smaller for text in (one.name, one.phone, *one.emails)}
    free = [i for i, one in enumerate(larger) if theirs.isdisjoint((one.name, one.phone, *one.emails))]
    left = rng.sample(free, twins + strangers)
    right = rng.sample(range(len(smaller)), twins + strangers)
    for count, (i, j) in enumerate(zip(left, right, strict=True)):
        one, other = larger[i], replace(smaller[j], phone=larger[i].phone)
        if count < twins:
            other = replace(other, name=one.name, email=one.email, language=one.language, locale=one.locale)
        smaller[j] = other


def _marked(tenant: list[Subject], other: list[Subject]) -> list[Subject]:
    """The people of ``tenant``, knowing what they share: some of it came about by chance, as in life."""
    emails = {email for one in other for email in one.emails}
    phones = {one.phone for one in other}
    at_home = Counter(one.phone for one in tenant)
    return [
        replace(
            one,
            email_elsewhere=not emails.isdisjoint(one.emails),
            phone_elsewhere=one.phone in phones,
            phone_at_home=at_home[one.phone] > 1,
        )
        for one in tenant
    ]


def _share_at_home(tenant: list[Subject], rng: Random) -> None:
    """Give some people the phone of somebody else of their tenant, in place."""
    chosen = rng.sample(range(len(tenant)), 2 * _edge(_HOUSEHOLDS, len(tenant)))
    for i, j in zip(chosen[::2], chosen[1::2], strict=True):
        tenant[j] = replace(tenant[j], phone=tenant[i].phone)


def _nest_addresses(tenant: list[Subject], rng: Random) -> None:
    """Give some people an address that ends with somebody else's whole address, in place."""
    taken = {email for one in tenant for email in one.emails}
    wanted = _edge(_SUFFIXES, len(tenant))
    candidates = rng.sample(range(len(tenant)), min(4 * wanted, len(tenant) // 2 * 2))
    for i, j in zip(candidates[::2], candidates[1::2], strict=True):
        email = f"{_ascii(tenant[j].first_name) or 'kana'}.{tenant[i].email}"
        if wanted and email not in taken:
            tenant[j] = replace(tenant[j], email=email, alternate_emails=())
            wanted -= 1
