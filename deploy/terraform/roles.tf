resource "aws_iam_role" "writer" {
  name                 = "${var.name}-writer"
  description          = "Jitgate: makes data keys of recordings and puts objects. Opens nothing, deletes nothing."
  assume_role_policy   = data.aws_iam_policy_document.assumed_by_gateways.json
  max_session_duration = 3600
}

resource "aws_iam_role" "playback" {
  name                 = "${var.name}-playback"
  description          = "Jitgate: opens data keys of recordings and reads objects. Writes nothing."
  assume_role_policy   = data.aws_iam_policy_document.assumed_to_play.json
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

data "aws_iam_policy_document" "assumed_to_play" {
  source_policy_documents = [data.aws_iam_policy_document.assumed_by_gateways.json]

  dynamic "statement" {
    for_each = length(var.auditors) == 0 ? [] : [var.auditors]

    content {
      actions = ["sts:AssumeRole"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }
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
    actions   = ["s3:PutObject", "s3:PutObjectRetention", "s3:GetObject"]
    resources = [local.objects]
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
