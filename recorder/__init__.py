"""What was seen: journal, segments, envelope encryption, key providers, object stores, playback, verification (R27).

A library with IO. It knows nothing of the gateway, of gRPC, of policies or of approvals.
"""
