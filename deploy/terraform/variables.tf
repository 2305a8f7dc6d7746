variable "name" {
  description = "Begins the names of the key aliases and the roles."
  type        = string
  default     = "jitgate"
}

variable "organization" {
  description = "As organization of [recordings]: the recording key makes and opens data keys of no other, or of none that is named."
  type        = string
  default     = "default"
}

variable "bucket" {
  description = "Name of the bucket for recordings."
  type        = string
}

variable "prefix" {
  description = "Before every object's name, as prefix of [recordings.s3]: empty, or ending in a slash."
  type        = string
  default     = ""
}

variable "administrators" {
  description = "ARNs that manage the keys and may not use them. Whoever applies this must be among them."
  type        = list(string)

  validation {
    condition     = length(var.administrators) > 0
    error_message = "Name at least one: without an administrator nobody could ever change the keys' policies."
  }
}

variable "gateways" {
  description = "ARNs of the identities that gateways run as; they assume both roles."
  type        = list(string)

  validation {
    condition     = length(var.gateways) > 0
    error_message = "Name at least one: without it nobody can assume the roles."
  }
}

variable "auditors" {
  description = "ARNs that may assume a role of their own, to read and open recordings without a gateway; none: no such role."
  type        = list(string)
  default     = []
}

variable "external_id" {
  description = "As external_id of the configuration: gateways must send it when they assume a role; null where none is sent."
  type        = string
  default     = null
}

variable "object_lock" {
  description = "Retention that the bucket gives to objects that name none. Object Lock cannot be turned off again."
  type = object({
    mode = string
    days = number
  })
  default = null

  validation {
    condition     = var.object_lock == null || contains(["GOVERNANCE", "COMPLIANCE"], try(var.object_lock.mode, ""))
    error_message = "object_lock.mode is GOVERNANCE or COMPLIANCE."
  }
}

variable "retention" {
  description = "The mode, and the most days, of a retention that the gateway may give an object (object_lock_mode and object_lock_days, or --retention of preferences). null: as object_lock, and none without it."
  type = object({
    mode = string
    days = number
  })
  default = null

  validation {
    condition     = var.retention == null || contains(["GOVERNANCE", "COMPLIANCE"], try(var.retention.mode, ""))
    error_message = "retention.mode is GOVERNANCE or COMPLIANCE."
  }
}

variable "old_versions_days" {
  description = "How long what was deleted or overwritten by others stays; Object Lock may hold it longer."
  type        = number
  default     = 90
}

variable "log_group" {
  description = "Name of a CloudWatch log group for logs of sessions, for example /jitgate/sessions; null for none."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "How long logs of sessions are kept; one of the numbers that CloudWatch Logs knows."
  type        = number
  default     = 365
}

variable "deletes_recordings" {
  description = "Whether the gateway may delete recordings: by its retention_days, or by jit recordings delete."
  type        = bool
  default     = false
}
