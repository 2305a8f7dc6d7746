"""A gRPC client for one gateway at a time, lean enough to start and to type through as fast as ssh does.

The stock client costs 50 ms to import and two thread hand-offs a message; this one is a TLS socket, HTTP/2 frames
and a loop. `http2` knows the frames and does no IO, `channel` moves the bytes, `failure` says how a call ended.
"""
