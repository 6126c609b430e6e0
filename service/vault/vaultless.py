"""Vault tokens without a vault: FF1 there and back, and keyed hashes, under a policy's own keys. Pure.

A vault token of FF1 stays in scope of PCI DSS as encrypted card data does, and nothing tells an altered one. Source:
NIST SP 800-38G rev. 1.
"""

from collections.abc import Callable, Sequence

from service.vault.card_ff1 import CardCipher
from service.vault.ff1 import FF1
from service.vault.masks import View, shown
from service.vault.policies import ALPHABETS, CardFormat, FF1Format, Policy
from service.vault.unfit import Unfit


def encrypted(policy: Policy, key: bytes, canonical: Sequence[str], context: str) -> list[str | Unfit]:
    """The FF1 token of each canonical value, or why it has none.

    Args:
        key: the policy's of the purpose `ff1`.
        context: a part of the tweak, at most 58 characters.
    """
    cipher, tweak = _cipher(policy, key), _tweak(policy, context)
    return _each(lambda texts: cipher.encrypt(texts, tweak), canonical)


def decrypted(policy: Policy, key: bytes, tokens: Sequence[str], context: str) -> list[str | Unfit]:
    """The canonical value of each token under the same policy, key and context, or why it is none of them.

    A value that the policy would not take is no value: the token was altered or is of elsewhere.
    """
    cipher, tweak = _cipher(policy, key), _tweak(policy, context)
    found = _each(lambda texts: cipher.decrypt(texts, tweak), tokens)
    return [each if isinstance(each, Unfit) else _checked(policy, each) for each in found]


def hashed(policy: Policy, key: bytes, canonical: str) -> str:
    """The one-way token of a canonical value: 64 hexadecimal digits, the same as its view `hash`.

    Args:
        key: the policy's of the purpose `fingerprint`.
    """
    return shown(View.HASH, policy.data_class, canonical, canonical, hash_key=key)


def _cipher(policy: Policy, key: bytes) -> CardCipher | FF1:
    if isinstance(policy.format, CardFormat):
        return CardCipher(key, luhn_valid=policy.format.luhn_valid)
    assert isinstance(policy.format, FF1Format), "a vaultless policy has no other format"
    return FF1(key, ALPHABETS[policy.format.alphabet])


def _tweak(policy: Policy, context: str) -> bytes:
    return policy.id.bytes + context.encode()


def _each(turn: Callable[[Sequence[str]], list[str]], texts: Sequence[str]) -> list[str | Unfit]:
    try:
        return [*turn(texts)]
    except Unfit as error:
        if len(texts) == 1:
            return [error]
    # One that does not fit is told by itself, and the others are not held up by it.
    return [each for text in texts for each in _each(turn, [text])]


def _checked(policy: Policy, value: str) -> str | Unfit:
    try:
        return policy.canonical(value)
    except Unfit:
        return Unfit("not-a-token", "this is no vault token of the policy and context")
