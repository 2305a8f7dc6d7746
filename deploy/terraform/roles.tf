resource "aws_iam_role" "writer" {
  name                 = "${var.name}-writer"
  description          = "Jitgate: makes data keys of recordings and puts objects. Opens nothing, deletes nothing."
  assume_role_policy   = data.aws_iam_policy_document.assumed_by_gateways.json
  max_session_duration = 3600
}

resource "aws_iam_role" "playback" {
  name                 = "${var.name}-playback"
  description          = "Jitgate: opens data keys of recordings. Reads and writes nothing; the gateway reads objects as the writer."
  assume_role_policy   = data.aws_iam_policy_document.assumed_by_gateways.json
  max_session_duration = 3600
}

resource "aws_iam_role" "auditor" {
  count                = length(var.auditors) == 0 ? 0 : 1
  name                 = "${var.name}-auditor"
  description          = "Reads and opens recordings without a gateway. Writes nothing."
  assume_role_policy   = data.aws_iam_policy_document.assumed_by_auditors[0].json
  max_session_duration = 3600
}

data "aws_iam_policy_document" "assumed_by_gateways" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = var.gateways
    }

    dynamic "condition" {
      for_each = var.external_id == null ? [] : [var.external_id]

      content {
        test     = "StringEquals"
        variable = "sts:ExternalId"
        values   = [condition.value]
      }
    }
  }
}

data "aws_iam_policy_document" "assumed_by_auditors" {
  count = length(var.auditors) == 0 ? 0 : 1

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = var.auditors
    }
  }
}

resource "aws_iam_role_policy" "writer" {
  name   = "recordings"
  role   = aws_iam_role.writer.id
  policy = data.aws_iam_policy_document.writer.json
}

data "aws_iam_policy_document" "writer" {
  statement {
    sid       = "PutAndCompare"
    actions   = ["s3:PutObject", "s3:GetObject"]
    resources = [local.objects]
  }

  # A put that names a retention needs it. It lengthens that of what is there as well, so it has an end; it shortens none.
  dynamic "statement" {
    for_each = local.retention == null ? [] : [local.objects]
    content {
      sid       = "Retain"
      actions   = ["s3:PutObjectRetention"]
      resources = [statement.value]
    }
  }

  # A day more than is named: the gateway's clock may be ahead of AWS's.
  dynamic "statement" {
    for_each = local.retention == null ? [] : [local.retention.days + 1]
    content {
      sid       = "RetainNoLonger"
      effect    = "Deny"
      actions   = ["s3:PutObject", "s3:PutObjectRetention"]
      resources = [local.objects]

      condition {
        test     = "NumericGreaterThan"
        variable = "s3:object-lock-remaining-retention-days"
        values   = [statement.value]
      }
    }
  }

  dynamic "statement" {
    for_each = local.retention == null ? [] : setsubtract(["GOVERNANCE", "COMPLIANCE"], [local.retention.mode])
    content {
      sid       = "RetainInOneMode"
      effect    = "Deny"
      actions   = ["s3:PutObject", "s3:PutObjectRetention"]
      resources = [local.objects]

      condition {
        test     = "StringEquals"
        variable = "s3:object-lock-mode"
        values   = [statement.value]
      }
    }
  }

  # Without it a missing object answers "access denied" instead of "missing".
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.recordings.arn]
  }

  statement {
    sid       = "SeeWhetherRetentionWorks"
    actions   = ["s3:GetBucketObjectLockConfiguration"]
    resources = [aws_s3_bucket.recordings.arn]
  }

  # Every version of an object goes when its recording is deleted; what Object Lock retains, nobody here can delete.
  dynamic "statement" {
    for_each = var.deletes_recordings ? [local.objects] : []
    content {
      sid       = "Delete"
      actions   = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.deletes_recordings ? [aws_s3_bucket.recordings.arn] : []
    content {
      sid       = "FindVersions"
      actions   = ["s3:ListBucketVersions"]
      resources = [statement.value]
    }
  }

  statement {
    sid       = "MakeDataKeys"
    actions   = ["kms:GenerateDataKey"]
    resources = [aws_kms_key.recordings.arn]
  }

  statement {
    sid       = "SignManifests"
    actions   = ["kms:Sign"]
    resources = [aws_kms_key.manifests.arn]
  }

  statement {
    sid       = "BucketEncryption"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = [aws_kms_key.bucket.arn]
  }
}

resource "aws_iam_role_policy" "playback" {
  name   = "recordings"
  role   = aws_iam_role.playback.id
  policy = data.aws_iam_policy_document.playback.json
}

data "aws_iam_policy_document" "playback" {
  statement {
    sid       = "OpenDataKeys"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.recordings.arn]
  }
}

resource "aws_iam_role_policy" "auditor" {
  count  = length(var.auditors) == 0 ? 0 : 1
  name   = "recordings"
  role   = aws_iam_role.auditor[0].id
  policy = data.aws_iam_policy_document.auditor.json
}

data "aws_iam_policy_document" "auditor" {
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = [local.objects]
  }

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.recordings.arn]
  }

  statement {
    sid       = "OpenDataKeys"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.recordings.arn, aws_kms_key.bucket.arn]
  }
}
