"""What can be wrong with persons and their accounts. None of it repeats a reference, a name or an account."""

from service.errors import Problem


class PersonNotFound(Problem):
    """The issuer has no such person, or the person was erased."""

    slug, title, status = "person-not-found", "No such person", 404


class NameOfAnotherSubject(Problem):
    """The name's record is not one of this person, and would outlive the person's erasure."""

    slug, title, status = "name-of-another-subject", "The name is not this person's", 409


class AccountOfAnotherPerson(Problem):
    """An account belongs to one person at most, and one of these is another's."""

    slug, title, status = "account-of-another-person", "An account is another person's", 409
