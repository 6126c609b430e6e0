"""/v1/vault/persons: subjects as the chain knows them, and whose an account is."""

from uuid import UUID

from fastapi import APIRouter

from service.access.http import REFUSED, Governing, Revealing, Searching
from service.vault import person_problems, persons, problems
from service.vault.person_orders import AccountsOrder, AccountsView, PersonOrder, PersonView
from service.vault.reveal_problems import RevealSuspended, RevealUnrecorded
from service.vault.routes import VaultDep
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.problems import BodyTooLarge

router = APIRouter(prefix="/vault/persons", tags=["vault"], route_class=StrictJsonRoute)

_OPENED = (*REFUSED, problems.VaultKeysUnavailable, problems.RecordDamaged)


@router.post(
    "",
    responses=documented(
        *_OPENED,
        BodyTooLarge,
        problems.VaultSubjectNotFound,
        problems.VaultTokenNotFound,
        person_problems.NameOfAnotherSubject,
    ),
)
async def tell_person(order: PersonOrder, caller: Governing, vault: VaultDep) -> PersonView:
    """Let the chain know a subject, by an id that says nothing without the vault. Asked again, it is the same person.

    The vault token of the name is kept, sealed under the person's key, so that a cap table can have names: whoever has
    the database and all keys reads that name, whatever the mapping mode of its policy.
    """
    return PersonView.of(await persons.make(vault, caller, order.reference, order.name))


@router.get("/{person_id}", responses=documented(*REFUSED, person_problems.PersonNotFound))
async def read_person(person_id: UUID, caller: Searching, vault: VaultDep) -> PersonView:
    """One person, without name and accounts; also after the erasure."""
    return PersonView.of(await persons.person(vault.db, issuer_id=caller.issuer_id, id=person_id))


@router.put(
    "/{person_id}/accounts",
    responses=documented(
        *_OPENED, BodyTooLarge, person_problems.PersonNotFound, person_problems.AccountOfAnotherPerson
    ),
)
async def set_person_accounts(person_id: UUID, order: AccountsOrder, caller: Governing, vault: VaultDep) -> PersonView:
    """Say which accounts are a person's: all of them, at most 100, and none to take all off."""
    await persons.set_accounts(vault, caller, person_id, order.accounts)
    return PersonView.of(await persons.person(vault.db, issuer_id=caller.issuer_id, id=person_id))


@router.get(
    "/{person_id}/accounts",
    responses=documented(*_OPENED, person_problems.PersonNotFound, RevealSuspended, RevealUnrecorded),
)
async def read_person_accounts(person_id: UUID, caller: Revealing, vault: VaultDep) -> AccountsView:
    """The accounts of a person; the journal has it before they leave."""
    return AccountsView(accounts=await persons.accounts(vault, caller, person_id))
