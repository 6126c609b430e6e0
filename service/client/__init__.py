"""The API from Python, without the server."""

from service.client.api import Client
from service.client.credentials import BearerCredential, Ed25519Credential, HmacCredential, WalletCredential
from service.client.problems import ApiProblem, Away, NotFinal, OperationFailed, Unusable
from service.client.vault import Item

__all__ = [
    "ApiProblem",
    "Away",
    "BearerCredential",
    "Client",
    "Ed25519Credential",
    "HmacCredential",
    "Item",
    "NotFinal",
    "OperationFailed",
    "Unusable",
    "WalletCredential",
]
