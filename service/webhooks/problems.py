"""What can be wrong with what is asked of webhooks. For the URL see `egress`."""

from service.errors import Problem


class WebhookNotFound(Problem):
    """The issuer has no such webhook."""

    slug, title, status = "webhook-not-found", "No such webhook", 404


class TooManyWebhooks(Problem):
    """The issuer has as many webhooks as one may have."""

    slug, title, status = "too-many-webhooks", "Too many webhooks", 409


class WebhookDisabled(Problem):
    """Nothing is sent to this webhook until it is enabled."""

    slug, title, status = "webhook-disabled", "The webhook is disabled", 409
