"""AWS on the loopback: moto for what it knows, rclone for bytes on disk, stand-ins of ours for what both lack."""
