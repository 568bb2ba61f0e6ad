/** The job of a schedule, as far as the stack has to know it. */

import { type Fields, type Report, anyFields } from "./reading";

/** A job as it stands in the settings: the fields that the stack knows may be left out. */
export type Job = Fields;

/** The context attributes, which EventBridge Scheduler replaces when the schedule fires. */
const CONTEXT_ATTRIBUTES = [
  "<aws.scheduler.schedule-arn>",
  "<aws.scheduler.scheduled-time>",
  "<aws.scheduler.execution-id>",
  "<aws.scheduler.attempt-number>",
];

/**
 * The fields of a transporter's configuration that hold a credential. The settings of a stack and the
 * input of a schedule are stored and shown as they are, so credentials come by reference there.
 */
const CREDENTIALS = [
  "sftp_password",
  "sftp_private_key",
  "sftp_private_key_passphrase",
  "client_secret",
  "password",
];

/** Reads a job; what it means is checked by the function that loads it. */
export function job(value: unknown, at: string, report: Report): Job {
  const job = anyFields(value, at, report);
  if (!Array.isArray(job.query_names) || job.query_names.length === 0) {
    report(`${at}.query_names`, "expected a list of at least one query");
  }
  visit(job, at, report);
  return job;
}

function visit(value: unknown, at: string, report: Report): void {
  if (typeof value === "string") {
    for (const attribute of value.match(/<aws\.scheduler\.[^>]*>?/g) ?? []) {
      if (!CONTEXT_ATTRIBUTES.includes(attribute)) {
        report(
          at,
          `\`${attribute}\` is not known, expected one of ${CONTEXT_ATTRIBUTES.join(", ")}`,
        );
      }
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      const place = Array.isArray(value) ? `${at}[${key}]` : `${at}.${key}`;
      if (CREDENTIALS.includes(key)) {
        report(
          place,
          "a schedule's job holds no credential, name a secret instead (`sftp_secret`, `sharefile_secret`)",
        );
      } else {
        visit(inner, place, report);
      }
    }
  }
}
