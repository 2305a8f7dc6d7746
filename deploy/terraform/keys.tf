# Who may read the bucket cannot yet open a recording; who may do both cannot sign one.

resource "aws_kms_key" "recordings" {
  description             = "Wraps the data keys of Jitgate recordings. Without it they are lost."
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.recordings_key.json

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "recordings" {
  name          = "alias/${var.name}-recordings"
  target_key_id = aws_kms_key.recordings.key_id
}

resource "aws_kms_key" "manifests" {
  description              = "Signs the manifests of Jitgate recordings."
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = "ECC_NIST_P256"
  deletion_window_in_days  = 30
  policy                   = data.aws_iam_policy_document.manifests_key.json

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "manifests" {
  name          = "alias/${var.name}-manifests"
  target_key_id = aws_kms_key.manifests.key_id
}

resource "aws_kms_key" "bucket" {
  description             = "Encrypts the bucket of Jitgate recordings once more (SSE-KMS)."
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.bucket_key.json

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "bucket" {
  name          = "alias/${var.name}-recordings-bucket"
  target_key_id = aws_kms_key.bucket.key_id
}

data "aws_iam_policy_document" "administration" {
  statement {
    sid       = "ManageAndNotUse"
    resources = ["*"]

    actions = [
      "kms:CancelKeyDeletion",
      "kms:Create*",
      "kms:Delete*",
      "kms:Describe*",
      "kms:Disable*",
      "kms:Enable*",
      "kms:Get*",
      "kms:List*",
      "kms:Put*",
      "kms:Revoke*",
      "kms:ScheduleKeyDeletion",
      "kms:TagResource",
      "kms:UntagResource",
      "kms:Update*",
    ]

    principals {
      type        = "AWS"
      identifiers = var.administrators
    }
  }

  # CreateGrant is among Create*: a grant would give what the statement above withholds.
  statement {
    sid       = "NoGrants"
    effect    = "Deny"
    actions   = ["kms:CreateGrant"]
    resources = ["*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}

data "aws_iam_policy_document" "recordings_key" {
  source_policy_documents = [data.aws_iam_policy_document.administration.json]

  statement {
    sid       = "WriterMakesDataKeys"
    actions   = ["kms:GenerateDataKey"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.writer.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:purpose"
      values   = ["recording", "input", "diagnosis"]
    }

    condition {
      test     = "StringEqualsIfExists" # recordings from before there was an organization, and diagnoses
      variable = "kms:EncryptionContext:organization"
      values   = [var.organization]
    }
  }

  statement {
    sid       = "PlaybackAndAuditorsOpenThem"
    actions   = ["kms:Decrypt"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = concat([aws_iam_role.playback.arn], aws_iam_role.auditor[*].arn)
    }

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:purpose"
      values   = ["recording", "input", "diagnosis"]
    }

    condition {
      test     = "StringEqualsIfExists" # recordings from before there was an organization, and diagnoses
      variable = "kms:EncryptionContext:organization"
      values   = [var.organization]
    }
  }
}

data "aws_iam_policy_document" "manifests_key" {
  source_policy_documents = [data.aws_iam_policy_document.administration.json]

  statement {
    sid       = "WriterSigns"
    actions   = ["kms:Sign"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.writer.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:SigningAlgorithm"
      values   = ["ECDSA_SHA_256"]
    }
  }
}

# S3 says what it encrypts: the bucket while the bucket has a key of its own, the object otherwise.
locals {
  contexts_of_bucket = [aws_s3_bucket.recordings.arn, "${aws_s3_bucket.recordings.arn}/*"]
}

data "aws_iam_policy_document" "bucket_key" {
  source_policy_documents = [data.aws_iam_policy_document.administration.json]

  statement {
    sid       = "ThroughTheBucketAlone"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.writer.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${data.aws_region.here.name}.amazonaws.com"]
    }

    condition {
      test     = "StringLike"
      variable = "kms:EncryptionContext:aws:s3:arn"
      values   = local.contexts_of_bucket
    }
  }

  dynamic "statement" {
    for_each = length(var.auditors) == 0 ? [] : [aws_iam_role.auditor[*].arn]

    content {
      sid       = "ReadThroughTheBucketAlone"
      actions   = ["kms:Decrypt"]
      resources = ["*"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["s3.${data.aws_region.here.name}.amazonaws.com"]
      }

      condition {
        test     = "StringLike"
        variable = "kms:EncryptionContext:aws:s3:arn"
        values   = local.contexts_of_bucket
      }
    }
  }
}
