import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { document, onlyOverTls } from "../grants";

export interface StorageArgs {
  key: aws.kms.Key;
  /** How long what a run writes is kept. */
  resultsRetentionDays: number;
  protect: boolean;
  /** Whether the buckets go with the stack even if there are objects in them. */
  emptyOnRemoval: boolean;
}

/** How long an older version of an object is kept. */
const NONCURRENT_DAYS = 30;

/** How long the parts of an upload are kept that nobody ended. */
const UNFINISHED_UPLOAD_DAYS = 2;

/** The bucket of the SQL files, and the bucket of everything that runs write. */
export class Storage extends pulumi.ComponentResource {
  readonly queries: aws.s3.Bucket;
  readonly results: aws.s3.Bucket;

  constructor(name: string, args: StorageArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Storage", name, {}, options);
    this.queries = this.createBucket(`${name}-queries`, args, undefined);
    this.results = this.createBucket(`${name}-results`, args, args.resultsRetentionDays);
    this.registerOutputs();
  }

  private createBucket(
    name: string,
    args: StorageArgs,
    expirationDays: number | undefined,
  ): aws.s3.Bucket {
    const bucket = new aws.s3.Bucket(
      name,
      { forceDestroy: args.emptyOnRemoval },
      { parent: this, protect: args.protect },
    );
    const child = { parent: bucket };
    const publicAccess = new aws.s3.BucketPublicAccessBlock(
      name,
      {
        bucket: bucket.id,
        blockPublicAcls: true,
        blockPublicPolicy: true,
        ignorePublicAcls: true,
        restrictPublicBuckets: true,
      },
      child,
    );
    new aws.s3.BucketOwnershipControls(
      name,
      { bucket: bucket.id, rule: { objectOwnership: "BucketOwnerEnforced" } },
      child,
    );
    new aws.s3.BucketServerSideEncryptionConfiguration(
      name,
      {
        bucket: bucket.id,
        rules: [
          {
            applyServerSideEncryptionByDefault: {
              sseAlgorithm: "aws:kms",
              kmsMasterKeyId: args.key.arn,
            },
            bucketKeyEnabled: true,
          },
        ],
      },
      child,
    );
    const versioning = new aws.s3.BucketVersioning(
      name,
      { bucket: bucket.id, versioningConfiguration: { status: "Enabled" } },
      child,
    );
    new aws.s3.BucketLifecycleConfiguration(
      name,
      {
        bucket: bucket.id,
        rules: [
          {
            id: "expire",
            status: "Enabled",
            filter: { prefix: "" },
            ...(expirationDays !== undefined && { expiration: { days: expirationDays } }),
            noncurrentVersionExpiration: { noncurrentDays: NONCURRENT_DAYS },
            abortIncompleteMultipartUpload: { daysAfterInitiation: UNFINISHED_UPLOAD_DAYS },
          },
        ],
      },
      // Rules about versions are for a bucket that has them.
      { ...child, dependsOn: [versioning] },
    );
    new aws.s3.BucketPolicy(
      name,
      { bucket: bucket.id, policy: document([onlyOverTls(bucket)]) },
      // S3 refuses two changes of a bucket's access at once.
      { ...child, dependsOn: [publicAccess] },
    );
    return bucket;
  }
}
