"""All settings of a person, from the environment and from the file that is named.

No file is read unless it is named: otherwise the author of a folder would configure everybody who opens it in an
editor.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .rest import (
    BITRIX24_OAUTH_URL,
    ENTERPRISE,
    KEEPER,
    SELF_HOSTED,
    STANDARD,
    Application,
    Bitrix24Error,
    Credentials,
    ErrorKind,
    RateLimits,
    Webhook,
)
from .text import LIKE_A_WEBHOOK, one_line

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(lambda value: str(value).upper())
]

_WHERE = (
    'in the "env" block of this server in the MCP client\'s configuration (for Claude Desktop: '
    "claude_desktop_config.json) or in the file that --env-file or BITRIX24_ENV_FILE names, and restart the client"
)
_WHERE_OF_A_TEAM = (
    "in the environment of this server or in the file that --env-file or BITRIX24_ENV_FILE names, and restart it"
)
ENV_FILE = "BITRIX24_ENV_FILE"
"""Names the file of settings if no option does."""

_EXPECTED = {
    "cache_ttl": "a number of seconds from 0 (no cache) to 86400, such as 300",
    "timeout": "a number of seconds from 0.1 to 3600, such as 30",
    "plan": "standard, enterprise or self-hosted",
    "warm_up": "true or false",
    "allow_writes": "true or false",
    "access_ttl": "a number of seconds from 0 (asked for each call) to 86400, such as 3600",
    "lang": "en or ru",
    "log_level": "DEBUG, INFO, WARNING, ERROR or CRITICAL",
}


class Settings(BaseSettings):
    """Each field is the variable BITRIX24_<FIELD>; empty variables count as not set."""

    model_config = SettingsConfigDict(
        env_prefix="BITRIX24_",
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    webhook_url: SecretStr = SecretStr("")
    portal_url: str = ""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    access_token: SecretStr = SecretStr("")
    refresh_token: SecretStr = SecretStr("")
    oauth_url: str = BITRIX24_OAUTH_URL
    cache_ttl: float = Field(300, ge=0, le=86400, allow_inf_nan=False)
    timeout: float = Field(30, ge=0.1, le=3600, allow_inf_nan=False)
    plan: Annotated[
        Literal["standard", "enterprise", "self-hosted"], BeforeValidator(lambda value: str(value).lower())
    ] = "standard"
    ca_file: str = ""
    warm_up: bool = True
    allow_writes: bool = False
    audit_log: str = ""
    log_level: LogLevel = "WARNING"
    lang: Annotated[Literal["", "en", "ru"], BeforeValidator(lambda value: str(value).lower())] = ""
    people: str = ""
    access_log: str = "stderr"
    access_ttl: float = Field(3600, ge=0, le=86400, allow_inf_nan=False)
    redis_url: SecretStr = SecretStr("")
    public_url: str = ""
    allowed_hosts: str = ""
    allowed_origins: str = ""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_jwks_url: str = ""
    jwt_name_claim: str = "email"
    jwt_scope_claim: str = "scope"

    def credentials(self) -> Credentials:
        """Return the inbound webhook or the application to call with.

        Raises Bitrix24Error if neither is set, if both are, or if the settings are incomplete or malformed.
        """
        url = self.webhook_url.get_secret_value().strip()
        application = self.portal_url or self.client_id or self.client_secret.get_secret_value()
        if url and application:
            raise _misconfigured(
                "INVALID_CONFIGURATION",
                "Both a webhook (BITRIX24_WEBHOOK_URL) and an application (BITRIX24_PORTAL_URL, BITRIX24_CLIENT_ID, "
                "BITRIX24_CLIENT_SECRET) are set",
                "leave only one of the two",
            )
        if application:
            return self.application()
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

    def application(self, person: str = "") -> Application:
        """Return the settings' application (OAuth), with its own or a team person's tokens.

        Raises Bitrix24Error if it is incomplete or malformed.
        """
        needed = {
            "BITRIX24_PORTAL_URL": self.portal_url,
            "BITRIX24_CLIENT_ID": self.client_id,
            "BITRIX24_CLIENT_SECRET": self.client_secret.get_secret_value(),
        }
        if missing := [name for name, value in needed.items() if not value]:
            raise _misconfigured(
                "NOT_CONFIGURED",
                f"The application is not wholly set up: {', '.join(missing)} is not set",
                f"set {', '.join(needed)} as Bitrix24 shows them for the application",
            )
        try:
            return Application(
                *needed.values(),
                access_token="" if person else self.access_token.get_secret_value(),
                refresh_token="" if person else self.refresh_token.get_secret_value(),
                oauth_url=self.oauth_url,
                person=person,
                ca_file=self.ca_file,
            )
        except ValueError as exc:
            raise _misconfigured(
                "INVALID_CONFIGURATION",
                f"The application's settings (BITRIX24_PORTAL_URL and the others) are malformed: {exc}",
                "set BITRIX24_PORTAL_URL to the portal's address, which looks like https://<portal>, and the others as "
                "Bitrix24 shows them",
            ) from None

    @property
    def limits(self) -> RateLimits:
        """Request limits of the portal's plan."""
        return {"standard": STANDARD, "enterprise": ENTERPRISE, "self-hosted": SELF_HOSTED}[self.plan]


def load_settings(env_file: str = "") -> Settings:
    """Read the environment, and the file of settings that `env_file` or BITRIX24_ENV_FILE names.

    The file has NAME=value lines. The environment wins. Raises Bitrix24Error, which names each wrong variable but never
    shows its value.
    """
    file_name = env_file or os.environ.get(ENV_FILE, "")
    path = Path(file_name).expanduser() if file_name else None
    try:
        if path is not None and not path.is_file():
            raise _unreadable(path, "is no file")
        return Settings(_env_file=path)
    except ValidationError as exc:
        fields = sorted({str(error["loc"][0]) for error in exc.errors(include_input=False)})
        wrong = [f"BITRIX24_{field.upper()} must be {_EXPECTED[field]}" for field in fields]
        raise _misconfigured("INVALID_CONFIGURATION", "; ".join(wrong), "correct it") from None
    except UnicodeError:
        raise _unreadable(path, "is not saved as UTF-8 (Windows' programs may have made it UTF-16)") from None
    except (OSError, ValueError, RuntimeError):
        raise _unreadable(path, "cannot be read") from None


def _unreadable(path: Path | None, why: str) -> Bitrix24Error:
    label = "that was named" if LIKE_A_WEBHOOK.search(str(path)) else one_line(str(path), 200)  # a URL: a secret
    return _misconfigured("INVALID_CONFIGURATION", f"The file of settings {label} {why}", "mend or name it")


def _misconfigured(kind: str, happened: str, hint: str) -> Bitrix24Error:
    team = f"{KEEPER}{hint}, {_WHERE_OF_A_TEAM}."
    return Bitrix24Error(kind, ErrorKind(happened, f"Tell the user to {hint}, {_WHERE}.", "configuration", team=team))
