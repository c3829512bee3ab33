"""All that a person can configure, from the environment or a `.env` file in the working directory."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .rest import Bitrix24Error, Entry, Webhook

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(lambda value: str(value).upper())
]

_WHERE = (
    'in the "env" block of this server in the MCP client\'s configuration (for Claude Desktop: '
    "claude_desktop_config.json) or in a .env file, and restart the client"
)
_EXPECTED = {
    "webhook_url": "text",
    "timeout": "a number of seconds from 0.1 to 3600, such as 30",
    "log_level": "DEBUG, INFO, WARNING, ERROR or CRITICAL",
}


class Settings(BaseSettings):
    """Each field is the variable BITRIX24_<FIELD>; empty ones count as not set."""

    model_config = SettingsConfigDict(
        env_prefix="BITRIX24_",
        env_file=".env",
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    webhook_url: SecretStr = SecretStr("")
    timeout: float = Field(30, ge=0.1, le=3600, allow_inf_nan=False)
    log_level: LogLevel = "WARNING"

    def webhook(self) -> Webhook:
        """The inbound webhook to call with. Raises Bitrix24Error when none is set or the URL is malformed."""
        url = self.webhook_url.get_secret_value().strip()
        if not url:
            raise _misconfigured(
                "NOT_CONFIGURED",
                "No Bitrix24 portal is set up: BITRIX24_WEBHOOK_URL is not set",
                "set BITRIX24_WEBHOOK_URL to the URL of an inbound webhook with the CRM (crm) permission, which looks "
                "like https://<portal>/rest/<user id>/<code>/",
            )
        try:
            return Webhook.parse(url)
        except ValueError as exc:
            raise _misconfigured(
                "INVALID_CONFIGURATION",
                f"BITRIX24_WEBHOOK_URL is not an inbound webhook's URL: {exc}",
                "copy the URL of the webhook from Bitrix24, which looks like https://<portal>/rest/<user id>/<code>/, "
                "into BITRIX24_WEBHOOK_URL",
            ) from None


def load_settings() -> Settings:
    """Read the settings. Raises Bitrix24Error, which names each wrong variable but never shows its value."""
    try:
        return Settings()
    except ValidationError as exc:
        fields = sorted({str(error["loc"][0]) for error in exc.errors(include_input=False)})
        wrong = [f"BITRIX24_{field.upper()} must be {_EXPECTED[field]}" for field in fields]
        raise _misconfigured("INVALID_CONFIGURATION", "; ".join(wrong), "correct it") from None
    except (OSError, UnicodeError):
        raise _misconfigured(
            "INVALID_CONFIGURATION", "The file .env in the working directory cannot be read as UTF-8", "mend it"
        ) from None


def _misconfigured(kind: str, happened: str, todo: str) -> Bitrix24Error:
    return Bitrix24Error(kind, Entry(happened, f"Tell the user to {todo}, {_WHERE}.", "configuration"))
