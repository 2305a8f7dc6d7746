output "signing_key_id" {
  description = "For signing_key_id, once its public half is in a file: see docs/aws.md."
  value       = aws_kms_alias.manifests.arn
}

output "configuration" {
  description = "For jitgate.toml."
  value       = <<-TOML
    [recordings]
    organization = "${var.organization}"
    store = "s3"
    key_provider = "aws_kms"

    [recordings.s3]
    bucket = "${aws_s3_bucket.recordings.id}"
    prefix = "${var.prefix}"
    region = "${data.aws_region.here.name}"
    expected_bucket_owner = "${data.aws_caller_identity.here.account_id}"
    role_arn = "${aws_iam_role.writer.arn}"${local.external_id_line}

    [recordings.kms]
    key_id = "${aws_kms_alias.recordings.arn}"
    region = "${data.aws_region.here.name}"
    role_arn = "${aws_iam_role.writer.arn}"
    playback_role_arn = "${aws_iam_role.playback.arn}"${local.external_id_line}
  TOML
}

output "log_group_arn" {
  description = "For jit allowances add log-group and jit preferences set --log-group, or log_group of [session_log]; the role is the writer's."
  value       = one(aws_cloudwatch_log_group.sessions[*].arn)
}

output "allowances" {
  description = "What an account needs to be allowed to use these, where it is not the gateway's own."
  value       = var.prefix == "" ? local.allowances : "None: the bucket of an account is written without a prefix, and these roles may only below ${var.prefix}. Apply this again for it, with no prefix."
}

locals {
  external_id_line   = var.external_id == null ? "" : "\nexternal_id = \"${var.external_id}\""
  external_id_option = var.external_id == null ? "" : " --external-id ${var.external_id}"
  allowances         = <<-TEXT
    jit allowances add bucket ${aws_s3_bucket.recordings.id} --owner ${data.aws_caller_identity.here.account_id} --aws-region ${data.aws_region.here.name}
    jit allowances add key ${aws_kms_key.recordings.arn}
    jit allowances add role ${aws_iam_role.writer.arn}${local.external_id_option}
    jit allowances add role ${aws_iam_role.playback.arn}${local.external_id_option}
  TEXT
}

output "auditor_role_arn" {
  description = "For the auditors, to read and open recordings without a gateway; null where none are named."
  value       = one(aws_iam_role.auditor[*].arn)
}
