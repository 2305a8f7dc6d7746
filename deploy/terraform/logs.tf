# Logs of sessions while they run, beside their recordings. None is made unless it is named.

resource "aws_cloudwatch_log_group" "sessions" {
  count             = var.log_group == null ? 0 : 1
  name              = var.log_group
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role_policy" "logs" {
  count  = var.log_group == null ? 0 : 1
  name   = "session-logs"
  role   = aws_iam_role.writer.id
  policy = data.aws_iam_policy_document.logs[0].json
}

data "aws_iam_policy_document" "logs" {
  count = var.log_group == null ? 0 : 1

  statement {
    sid       = "WriteAndNotRead"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.sessions[0].arn}:log-stream:*"]
  }
}
