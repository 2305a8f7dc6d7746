from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions.frames import encode_data
from jitgate.v1.session_pb2 import SessionData, SessionFrame


@given(
    st.integers(0, 2**64 - 1),
    st.sampled_from((0, 1)),
    st.lists(st.binary(max_size=300), max_size=5),
)
def test_a_data_frame_by_hand_is_what_the_generated_code_makes(
    offset: int, stream: int, parts: list[bytes]
) -> None:
    payload = b"".join(parts)
    if not payload:
        return  # the relay sends none: an empty payload is left out by protobuf
    encoded = encode_data(offset, stream, [memoryview(part) for part in parts], len(payload))
    expected = SessionFrame(data=SessionData(offset=offset, payload=payload, stream=stream))  # type: ignore[arg-type]  # an int is one
    assert encoded == expected.SerializeToString()


def test_a_large_frame() -> None:
    payload = bytes(range(256)) * 1024
    frame = SessionFrame.FromString(encode_data(1 << 40, 1, [payload], len(payload)))
    assert frame.data.payload == payload
    assert frame.data.offset == 1 << 40
