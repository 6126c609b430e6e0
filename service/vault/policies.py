"""Policies: what an issuer decides about one kind of value, and what of it goes together. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool, StrictInt, StrictStr, StringConstraints, TypeAdapter

from service.vault import formats
from service.vault.masks import View, views_of
from service.vault.unfit import Unfit
from service.vault.values import PATTERN_LENGTH_MAX, CustomRule, DataClass, canonical_value
from service.web.orders import Name, Order

TTL_MAX_S = 100 * 365 * 86_400

ALPHABETS = {
    "digits": formats.DIGITS,
    "upper": formats.UPPER,
    "digits_upper": formats.DIGITS + formats.UPPER,
    "digits_letters": formats.DIGITS + formats.UPPER + formats.LOWER,
}
"""What FF1 takes and gives, by the name that a policy chooses it by."""


class Kind(StrEnum):
    """How a vault token comes to be."""

    VAULT = "vault"  # drawn at random; the value is stored under the envelope
    VAULTLESS = "vaultless"  # FF1 of the value, which is stored nowhere
    ONE_WAY = "one_way"  # a keyed hash of the value, for joining; nothing leads back


class Mapping(StrEnum):
    """What a thief of the database and of every key has."""

    DEFAULT = "default"  # nothing, without the vault tokens
    EXPORTABLE = "exportable"  # everything: the issuer wants its tokens told again


class PrefixFormat(Order):
    """`tok_live_…` or `tok_test_…`, 131 random bits."""

    kind: Literal["prefix"]
    environment: Literal["live", "test"] | None = Field(
        default=None, description="The deployment's own, which need not be told; another one is refused."
    )


class DigitsFormat(Order):
    """Digits alone."""

    kind: Literal["digits"]
    length: StrictInt = Field(ge=1, le=formats.DIGITS_MAX, examples=[12])


class CardFormat(Order):
    """Card-shaped: the length and the last four of the card. A random one begins with 9."""

    kind: Literal["card"]
    luhn_valid: StrictBool = False


class PreservingFormat(Order):
    """The length and the separators of the value; digits for digits, letters for letters."""

    kind: Literal["preserving"]


class FF1Format(Order):
    """Format-preserving encryption over an alphabet; of a vaultless policy."""

    kind: Literal["ff1"]
    alphabet: Literal["digits", "upper", "digits_upper", "digits_letters"] = "digits"


class HashFormat(Order):
    """64 hexadecimal digits; of a one-way policy."""

    kind: Literal["hash"]


Format = Annotated[
    PrefixFormat | DigitsFormat | CardFormat | PreservingFormat | FF1Format | HashFormat, Field(discriminator="kind")
]

_FORMAT: TypeAdapter[Format] = TypeAdapter(Format)
_OF_KIND = {
    Kind.VAULT: (PrefixFormat, DigitsFormat, CardFormat, PreservingFormat),
    Kind.VAULTLESS: (CardFormat, FF1Format),
    Kind.ONE_WAY: (HashFormat,),
}
_NEVER_PRESERVED = {DataClass.TEXT, DataClass.DOCUMENT, DataClass.CARD}

PurposeName = Annotated[StrictStr, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class Rule(Order):
    """What a custom class takes: the whole value matches the pattern, a regular expression of the Rust dialect."""

    pattern: StrictStr = Field(min_length=1, max_length=PATTERN_LENGTH_MAX, examples=["[A-Z]{2}[0-9]{9}"])
    length_max: StrictInt = Field(ge=1, le=1_000, examples=[11])


class RevealRules(Order):
    """Who may see values again, what for, and how much of them. Nothing is revealed without a purpose in the list."""

    purposes: list[PurposeName] = Field(default=[], max_length=20, examples=[["settlement", "support"]])
    views: list[View] = Field(default=[View.MASKED], max_length=4)
    callers: list[Name] | None = Field(
        default=None,
        max_length=100,
        examples=[["back office"]],
        description="Names of the callers that may; null for every one with the scope.",
    )
    daily_max: StrictInt | None = Field(
        default=None,
        ge=0,
        le=10**9,
        examples=[1_000],
        description="Values for each API key and UTC day; null for no limit.",
    )
    subjects_daily_max: StrictInt | None = Field(
        default=None,
        ge=0,
        le=10**9,
        examples=[100],
        description="Distinct subjects for each API key and UTC day; null for no limit.",
    )
    approvals: StrictInt = Field(default=0, ge=0, le=5, description="Other API keys that must agree beforehand.")
    approvals_above: StrictInt = Field(
        default=0, ge=0, le=500, description="Approvals are needed for more values than this in one request."
    )


class PolicyOrder(Order):
    """A new policy. All but `reveal` and `ttl_max_s` is for good."""

    name: Name
    kind: Kind
    data_class: DataClass
    format: Format
    rule: Rule | None = Field(default=None, description="Of the class `custom`, and of no other.")
    deterministic: StrictBool = Field(default=False, description="One vault token for each value; else a new one.")
    mapping: Mapping = Mapping.DEFAULT
    pointer: StrictBool = Field(default=False, description="Its vault tokens may be given new values.")
    ttl_max_s: StrictInt | None = Field(default=None, ge=1, le=TTL_MAX_S)
    reveal: RevealRules = RevealRules()

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "investor cards",
                "kind": "vault",
                "data_class": "card",
                "format": {"kind": "card"},
                "deterministic": True,
                "reveal": {"purposes": ["payment"], "views": ["masked", "plain"], "daily_max": 1000},
            }
        }
    )


class PolicyChange(Order):
    """What changes of a policy; what is left out stays."""

    ttl_max_s: StrictInt | None = Field(default=None, ge=1, le=TTL_MAX_S)
    reveal: RevealRules | None = None

    model_config = ConfigDict(json_schema_extra={"example": {"reveal": {"purposes": ["payment"], "views": ["masked"]}}})


@dataclass(frozen=True)
class Policy:
    """A policy as it is stored."""

    id: UUID
    issuer_id: UUID
    name: str
    kind: Kind
    data_class: DataClass
    shape: dict[str, Any]
    deterministic: bool
    mapping: Mapping
    pointer: bool
    ttl_max_s: int | None
    reveal: dict[str, Any]
    created_at: datetime
    changed_at: datetime | None
    crowded_at: datetime | None

    @cached_property
    def format(self) -> Format:
        """Of its vault tokens."""
        return _FORMAT.validate_python(self.shape["format"])

    @cached_property
    def rule(self) -> CustomRule | None:
        """Of its values, where the class is custom."""
        told = self.shape.get("rule")
        return None if told is None else CustomRule(told["pattern"], told["length_max"])

    @cached_property
    def rules(self) -> RevealRules:
        """Of a reveal."""
        return RevealRules.model_validate(self.reveal)

    def canonical(self, value: str) -> str:
        """The form of a value that is compared.

        Raises:
            Unfit: it is none of the class.
        """
        return canonical_value(self.data_class, value, self.rule)


def random_format(told: Format) -> formats.TokenFormat:
    """What draws vault tokens of a format.

    Raises:
        Unfit: `space-too-small`.
    """
    match told:
        case PrefixFormat():
            return formats.Prefix("test" if told.environment == "test" else "live")
        case DigitsFormat():
            return formats.Digits(told.length)
        case CardFormat():
            return formats.CardShape(told.luhn_valid)
        case PreservingFormat():
            return formats.Preserving()
        case _:
            raise AssertionError("only a policy of kind vault draws")


def stored_format(told: Format, environment: str) -> dict[str, Any]:
    """A format of a new policy as it is stored; one of prefixes has the environment of the deployment.

    Raises:
        Unfit: `format-of-another-environment`.
    """
    stored = told.canonical()
    if isinstance(told, PrefixFormat):
        if told.environment not in (None, environment):
            raise Unfit(
                "format-of-another-environment",
                f"this is a {environment} deployment, and its vault tokens say so: leave `environment` out",
            )
        stored["environment"] = environment
    return stored


def insist_on_sense(order: PolicyOrder) -> None:
    """Refuse what does not go together.

    Raises:
        Unfit: with a reason of its own for each rule.
    """
    if (order.rule is None) == (order.data_class is DataClass.CUSTOM):
        raise Unfit("rule", "a rule belongs to the class custom, and to no other")
    if order.rule is not None:
        CustomRule(order.rule.pattern, order.rule.length_max)
    if not isinstance(order.format, _OF_KIND[order.kind]):
        raise Unfit("format-of-another-kind", f"a policy of kind {order.kind} has no format {order.format.kind}")
    if isinstance(order.format, CardFormat) != (order.data_class is DataClass.CARD) and (
        order.kind is Kind.VAULTLESS or isinstance(order.format, CardFormat)
    ):
        raise Unfit("format-of-another-class", "cards take the format card where they are vaultless, and no others do")
    if isinstance(order.format, PreservingFormat) and order.data_class in _NEVER_PRESERVED:
        raise Unfit("format-of-another-class", f"a value of class {order.data_class} is not to be preserved")
    if order.kind is Kind.VAULT:
        random_format(order.format)
        if order.pointer and order.data_class is DataClass.CARD:
            # A pending payment is sent again by its vault token, and must charge the same card as before.
            raise Unfit("pointer", "a card stays behind its token: tokenize the new card, and revoke the old token")
        if order.pointer and (order.deterministic or isinstance(order.format, CardFormat | PreservingFormat)):
            raise Unfit("pointer", "a pointer's token says nothing of its value: random, of prefix or digits")
    elif order.deterministic or order.pointer or order.mapping is not Mapping.DEFAULT or order.ttl_max_s is not None:
        raise Unfit("nothing-stored", "deterministic, pointer, mapping and ttl_max_s belong to policies of kind vault")
    insist_on_rules(order.reveal, order.kind, order.data_class)


def insist_on_rules(rules: RevealRules, kind: Kind, data_class: DataClass) -> None:
    """Refuse reveal rules that promise what there is not.

    Raises:
        Unfit: `nothing-to-reveal`, `view-not-offered`.
    """
    if kind is Kind.ONE_WAY and (rules.purposes or "views" in rules.model_fields_set):
        raise Unfit("nothing-to-reveal", "a one-way token leads back to nothing")
    if not set(rules.views) <= views_of(data_class):
        raise Unfit("view-not-offered", f"a value of class {data_class} has no view last_four")
