"""Verifies and decrypts a recording from docs/recording-format.md alone: nothing of Jitgate is imported.

    python outsider.py MANIFEST PUBLIC_KEY_PEM KEY_FILE SESSION_JSON [INVENTORY]

The segments lie beside the manifest. SESSION_JSON is what the asker knows: account, region, request, session. With
an inventory, the manifest must be the one noted there. It writes the output to stdout, and a summary as JSON to
stderr. Status 1 and a reason where anything is wrong.
"""

import base64
import hashlib
import json
import pathlib
import struct
import sys
from typing import Any

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def derive(key: bytes, info: bytes, salt: bytes | None = None) -> AESGCM:
    return AESGCM(HKDF(hashes.SHA256(), 32, salt, info).derive(key))


def must(condition: object, what: str) -> None:
    if not condition:
        sys.exit(what)


def must_agree(written: dict[str, Any], counted: dict[str, Any], where: str) -> None:
    """`written` is what the manifest says, of at least what was counted."""
    wrong = [name for name, value in counted.items() if written[name] != value]
    must(not wrong, f"{where}: wrong {', '.join(wrong)}")


def unwrap(wrapped: str, key_file: pathlib.Path, context: dict[str, str]) -> bytes:
    data = base64.b64decode(wrapped)
    must(data[:5] == b"JGLK1", "not wrapped by a local key file")
    keys = dict(line.split() for line in key_file.read_text().splitlines())
    key = base64.b64decode(keys[data[5:13].hex()])
    return AESGCM(key).decrypt(data[13:25], data[25:], canonical(context))


def opened(raw: bytes, kind: str, format_: str, pem: pathlib.Path) -> dict[str, Any]:
    """What a signed file holds."""
    file = json.loads(raw)
    must(canonical(file) == raw, f"the {kind} is not canonical")
    must(file["format"] == format_, f"the {kind} is of another format")
    public = load_pem_public_key(pem.read_bytes())
    signed = f"jitgate {kind} v1\n".encode() + canonical(file[kind])
    signature = base64.b64decode(file["signature"]["value"])
    if isinstance(public, Ed25519PublicKey):
        must(file["signature"]["algorithm"] == "Ed25519", "another algorithm")
        public.verify(signature, signed)
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        must(file["signature"]["algorithm"] == "ECDSA-P256-SHA256", "another algorithm")
        public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    held: dict[str, Any] = file[kind]
    return held


def main() -> None:
    manifest_path, pem, key_file = map(pathlib.Path, sys.argv[1:4])
    known = json.loads(sys.argv[4])
    raw = manifest_path.read_bytes()
    manifest = opened(raw, "manifest", "jitgate-recording-1", pem)
    must(manifest["session"]["session_id"] == known["session"], "another session")
    if "organization" in manifest["session"]:
        known["organization"] = manifest["session"]["organization"]
    for inventory in map(pathlib.Path, sys.argv[5:]):
        listed = opened(inventory.read_bytes(), "inventory", "jitgate-inventory-1", pem)["recordings"]
        noted = {entry["session_id"]: entry["manifest_sha256"] for entry in listed}
        must(noted.get(known["session"]) == hashlib.sha256(raw).hexdigest(), "not the manifest of the inventory")

    streams = {1: 0, 2: 0, 3: 0}
    typed = b""
    kinds: list[int] = []
    gaps: list[dict[str, Any]] = []
    status, ended, now = None, None, 0
    previous = bytes(32)
    listed = {f"manifest-{len(manifest['epochs']):04d}.json"}
    for place, epoch in enumerate(manifest["epochs"], 1):
        must(epoch["epoch"] == place, f"epoch {epoch['epoch']} stands where {place} belongs")
        context = {**known, "epoch": str(epoch["epoch"])}
        key = unwrap(epoch["wrapped_key"], key_file, {**context, "purpose": "recording"})
        typing = None
        if epoch["wrapped_input_key"]:
            input_key = unwrap(epoch["wrapped_input_key"], key_file, {**context, "purpose": "input"})
            typing = derive(input_key, b"jitgate input v1")
        for number, entry in enumerate(epoch["segments"]):
            name = f"{epoch['epoch']:04d}-{number:06d}.seg"
            listed.add(name)
            blob = (manifest_path.parent / name).read_bytes()
            must(entry["sequence"] == number, f"{name}: wrong sequence")
            must(hashlib.sha256(blob).hexdigest() == entry["sha256"], f"{name}: wrong hash")
            must(len(blob) == entry["size"], f"{name}: wrong size")
            magic, session, epoch_number, sequence, before, salt = struct.unpack_from(">8s22sII32s16s", blob)
            must(magic == b"JGSEG\0\0\1", f"{name}: no segment")
            must(session.decode() == known["session"], f"{name}: another session")
            must((epoch_number, sequence) == (epoch["epoch"], number), f"{name}: another place")
            must(before == previous, f"{name}: the chain is broken")
            previous = hashlib.sha256(blob).digest()
            nonce = bytes(4) + number.to_bytes(8, "big")
            plain = derive(key, b"jitgate segment v1", salt).decrypt(nonce, blob[86:], blob[:86])
            count, heads_size, payloads_size, *begins = struct.unpack_from(">IIIQQQHH", plain)
            must(begins[:3] == list(streams.values()), f"{name}: begins elsewhere")
            heads = zstandard.ZstdDecompressor().decompress(plain[40 : 40 + heads_size])
            payloads = zstandard.ZstdDecompressor().decompress(plain[40 + heads_size :])
            must(payloads_size == len(plain) - 40 - heads_size, f"{name}: sizes")
            times = [int.from_bytes(heads[head + 4 : head + 12], "big") for head in range(0, len(heads), 12)]
            must(times[0] >= now, f"{name}: begins before the segment before it ended")
            now = times[-1]
            counted = {
                "events": len(times),
                "raw_size": len(heads) + len(payloads),
                "first_us": times[0],
                "last_us": now,
            }
            must(count == len(times), f"{name}: events")
            must_agree(entry, {**counted, "columns": begins[3], "rows": begins[4]}, name)
            at = 0
            for head in range(0, len(heads), 12):
                kind, length = heads[head], int.from_bytes(heads[head + 1 : head + 4], "big")
                payload = payloads[at : at + length]
                at += length
                must(ended is None, f"{name}: something comes after the end")
                kinds.append(kind)
                if kind in (1, 2):
                    streams[kind] += length
                    if kind == 1:
                        sys.stdout.buffer.write(payload)
                elif kind == 3:
                    streams[3] += int.from_bytes(payload, "big")
                elif kind == 4:
                    assert typing is not None
                    typed += typing.decrypt(bytes(4) + streams[3].to_bytes(8, "big"), payload, None)
                    streams[3] += length - 16
                elif kind == 9:
                    status = int.from_bytes(payload[:4], "big", signed=True)
                elif kind == 10:
                    if payload[0]:
                        streams[payload[0]] = int.from_bytes(payload[1:9], "big")
                    lost, reason = int.from_bytes(payload[9:17], "big"), payload[17:].decode()
                    gaps.append({"time_us": times[head // 12], "lost_bytes": lost, "reason": reason})
                elif kind == 11:
                    ended = payload.decode()
            must(at == len(payloads), f"{name}: payloads")
        must(epoch["head"] == previous.hex(), "the head is not the last segment")
    folder = manifest_path.parent
    found = {path.name for form in ("*.seg", "manifest-*") for path in folder.glob(form)}
    must(found == listed, f"unlisted: {found - listed}")
    must(ended is not None, "no end")
    counts = dict(zip(("bytes_out", "bytes_stderr", "bytes_in"), streams.values(), strict=True))
    must_agree(manifest, {**counts, "gaps": gaps, "exit_status": status, "ended": ended}, "the manifest")
    summary = {"typed": typed.decode(), "kinds": kinds, "ended": manifest["ended"]}
    print(json.dumps(summary), file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (InvalidTag, InvalidSignature, OSError, ValueError, KeyError) as wrong:
        sys.exit(f"{type(wrong).__name__}: {wrong}")
