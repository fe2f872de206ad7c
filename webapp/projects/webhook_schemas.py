"""What remotes send to a webhook, and what is said of webhooks."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from webapp.api.answers import Id, Time


class HookHeaders(BaseModel):
    """GitHub, Gitea, Forgejo and GitLab send their own; these are for a program of yours."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"X-GSW-Delivery": "2026-01-31-0001", "X-GSW-Signature-256": "9f86d081884c7d65"}]
        }
    )

    delivery_id: str | None = Field(
        None, alias="X-GSW-Delivery", description="Another one for each delivery, at most 100 characters"
    )
    signature: str | None = Field(
        None,
        alias="X-GSW-Signature-256",
        description="HMAC-SHA256 of the body with the webhook’s secret, in hex",
    )


class WebhookAnswer(TypedDict):
    """An address that the remote calls after a push. Its pulls have the rights of who made it."""

    id: Id
    url: Annotated[str, Field(description="What the remote has to call")]
    created_by: str
    created_at: Time
    called_at: Annotated[Time | None, Field(description="When a remote called it last, properly signed")]


class NewWebhookAnswer(WebhookAnswer):
    """With its secret, which is shown only now."""

    secret: str


class DeliveryAnswer(TypedDict):
    """A call of a webhook, and what came of it."""

    webhook_id: Id
    delivery_id: str
    event: str
    received_at: Time
    said: str
    is_refused: Annotated[bool, Field(description="Who made the webhook may no longer pull here")]


class WebhookList(TypedDict):
    items: list[WebhookAnswer]
    deliveries: Annotated[list[DeliveryAnswer], Field(description="The last ten, the newest first")]


class HookAnswer(TypedDict):
    """What came of it, in words; the same for a delivery that is sent again."""

    said: str
