"""What was seen: journal, segments, envelope encryption, playback, verification (R27).

A library with IO. It knows nothing of the gateway, of gRPC, of policies or of approvals.
"""
