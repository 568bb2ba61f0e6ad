import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

/** The days that SQS keeps a message at most. */
const RETENTION_DAYS_MAX = 14;

/**
 * Creates a queue for what could not be delivered, encrypted with the key of SQS.
 *
 * The stack's key would have to let in the services that send to it, and nothing that is sent is a
 * secret.
 */
export function undelivered(name: string, parent: pulumi.Resource): aws.sqs.Queue {
  return new aws.sqs.Queue(
    name,
    { sqsManagedSseEnabled: true, messageRetentionSeconds: RETENTION_DAYS_MAX * 24 * 3600 },
    { parent },
  );
}
