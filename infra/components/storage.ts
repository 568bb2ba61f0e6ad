import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { document, onlyOverTls } from "../grants";

export interface StorageArgs {
  key: aws.kms.Key;
  /** The days that the objects of runs are kept. */
  resultsRetentionDays: number;
  protect: boolean;
  /** Whether the removal of the stack also removes objects in its buckets. */
  emptyOnRemoval: boolean;
}

/** The removal of objects by S3 itself. */
interface Lifecycle {
  id: string;
  /** The beginning of their keys. */
  prefix: string;
  expirationDays: number | undefined;
  noncurrentDays: number;
}

/**
 * The days that an older version of an object is kept. Runs read objects at the versions that they
 * have pinned, and a run may last 72 hours: this has to outlast the last retry of its last state.
 */
const NONCURRENT_DAYS = 30;

/**
 * The days that the token of a waiting query is kept: one more than a run may last. After that it is
 * of no use.
 */
const WAIT_DAYS = 4;

/** The days that an overwritten token is kept, which nobody reads: the least that S3 takes. */
const OLD_WAIT_DAYS = 1;

/** The days that the parts of an upload are kept that nobody ended. */
const UNFINISHED_UPLOAD_DAYS = 2;

/** The buckets: of the SQL files, of what runs make, and of what runs need and is no result. */
export class Storage extends pulumi.ComponentResource {
  readonly queries: aws.s3.Bucket;
  readonly results: aws.s3.Bucket;
  readonly state: aws.s3.Bucket;
  /** The parts of the buckets that make them safe to write to: versions, encryption, policies. */
  readonly parts: pulumi.Resource[] = [];

  constructor(name: string, args: StorageArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Storage", name, {}, options);
    const keep = (expirationDays: number | undefined): Lifecycle[] => [
      { id: "expire", prefix: "", expirationDays, noncurrentDays: NONCURRENT_DAYS },
    ];
    this.queries = this.createBucket(`${name}-queries`, args, keep(undefined));
    this.results = this.createBucket(`${name}-results`, args, keep(args.resultsRetentionDays));
    this.state = this.createBucket(`${name}-state`, args, [
      {
        id: "expire-waits",
        prefix: "waits/",
        expirationDays: WAIT_DAYS,
        noncurrentDays: OLD_WAIT_DAYS,
      },
    ]);
    this.registerOutputs();
  }

  private createBucket(name: string, args: StorageArgs, lifecycles: Lifecycle[]): aws.s3.Bucket {
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
    const ownership = new aws.s3.BucketOwnershipControls(
      name,
      { bucket: bucket.id, rule: { objectOwnership: "BucketOwnerEnforced" } },
      child,
    );
    const encryption = new aws.s3.BucketServerSideEncryptionConfiguration(
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
    const lifecycle = new aws.s3.BucketLifecycleConfiguration(
      name,
      {
        bucket: bucket.id,
        rules: lifecycles.map(({ id, prefix, expirationDays, noncurrentDays }) => ({
          id,
          status: "Enabled",
          filter: { prefix },
          ...(expirationDays !== undefined && { expiration: { days: expirationDays } }),
          noncurrentVersionExpiration: { noncurrentDays },
          abortIncompleteMultipartUpload: { daysAfterInitiation: UNFINISHED_UPLOAD_DAYS },
        })),
      },
      // Rules about versions are for a bucket that has them.
      { ...child, dependsOn: [versioning] },
    );
    const policy = new aws.s3.BucketPolicy(
      name,
      { bucket: bucket.id, policy: document([onlyOverTls(bucket)]) },
      // S3 refuses two changes of a bucket's access at once.
      { ...child, dependsOn: [publicAccess] },
    );
    this.parts.push(publicAccess, ownership, encryption, versioning, lifecycle, policy);
    return bucket;
  }
}
