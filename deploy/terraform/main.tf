terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.40"
    }
  }
}

data "aws_caller_identity" "here" {}

data "aws_region" "here" {}

locals {
  objects   = "${aws_s3_bucket.recordings.arn}/${var.prefix}*"
  retention = var.retention == null ? var.object_lock : var.retention
}
