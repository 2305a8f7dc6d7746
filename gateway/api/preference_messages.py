"""Session preferences as messages, and back."""

from gateway.errors import invalid
from gateway.places.model import OWN, Choice
from gateway.store.preferences import Preferences, RecordingMode
from jitgate.v1 import administration_pb2 as pb
from jitgate.v1 import common_pb2

_RECORDING = {
    pb.RECORDING_MODE_UNSPECIFIED: RecordingMode.STRICT,
    pb.RECORDING_MODE_STRICT: RecordingMode.STRICT,
    pb.RECORDING_MODE_BEST_EFFORT: RecordingMode.BEST_EFFORT,
}
_RECORDING_NUMBERS = {
    RecordingMode.STRICT: pb.RECORDING_MODE_STRICT,
    RecordingMode.BEST_EFFORT: pb.RECORDING_MODE_BEST_EFFORT,
}
_RETENTION = {
    pb.RETENTION_MODE_UNSPECIFIED: "",
    pb.RETENTION_MODE_GOVERNANCE: "governance",
    pb.RETENTION_MODE_COMPLIANCE: "compliance",
}
_RETENTION_NUMBERS = {mode: number for number, mode in _RETENTION.items()}


def preferences_from(given: pb.Preferences) -> Preferences:
    """Raises Refused INVALID_FIELD."""
    mode = _RECORDING.get(given.recording)
    if mode is None:
        raise invalid("preferences.recording", "is no recording mode")
    return Preferences(
        maximum_duration_minutes=given.maximum_duration_minutes,
        idle_timeout_minutes=given.idle_timeout_minutes,
        run_as=given.run_as,
        shell_profile=given.shell_profile,
        recording=mode,
        record_input_content=given.record_input_content,
        recording_place=_choice(given.recording_place),
        log_sessions=given.log_sessions,
        log_group=given.log_group,
    )


def preferences_message(place: tuple[str, str], stored: Preferences) -> pb.Preferences:
    return pb.Preferences(
        scope=common_pb2.Scope(account=place[0], region=place[1]),
        maximum_duration_minutes=stored.maximum_duration_minutes,
        idle_timeout_minutes=stored.idle_timeout_minutes,
        run_as=stored.run_as,
        shell_profile=stored.shell_profile,
        recording=_RECORDING_NUMBERS[stored.recording],
        record_input_content=stored.record_input_content,
        recording_place=_recording_place(stored.recording_place),
        log_sessions=stored.log_sessions,
        log_group=stored.log_group,
    )


def _choice(given: pb.RecordingPlace) -> Choice:
    mode = _RETENTION.get(given.retention_mode)
    if mode is None:
        raise invalid("preferences.recording_place.retention_mode", "is no retention mode")
    return Choice(
        bucket=given.bucket,
        key=given.key,
        role=given.role,
        playback_role=given.playback_role,
        retention_mode=mode,
        retention_days=given.retention_days,
    )


def _recording_place(stored: Choice) -> pb.RecordingPlace | None:
    if stored == OWN:
        return None
    return pb.RecordingPlace(
        bucket=stored.bucket,
        key=stored.key,
        role=stored.role,
        playback_role=stored.playback_role,
        retention_mode=_RETENTION_NUMBERS[stored.retention_mode],
        retention_days=stored.retention_days,
    )
