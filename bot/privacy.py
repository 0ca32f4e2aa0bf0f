"""`/privacy`, `/export`, `/forget`: what they ask for."""

from bot.requests import ExportRequest, ForgetRequest, PrivacyRequest, Request, Situation


def read_privacy_request(_arguments: str, _situation: Situation) -> Request:
    """What follows /privacy says nothing."""
    return PrivacyRequest()


def read_export_request(_arguments: str, _situation: Situation) -> Request:
    """What follows /export says nothing."""
    return ExportRequest()


def read_forget_request(_arguments: str, _situation: Situation) -> Request:
    """What follows /forget says nothing: it is asked for again before anything is deleted."""
    return ForgetRequest()
