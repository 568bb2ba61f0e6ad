/** The answers of AWS: made up, and the same on every machine. */

export const ACCOUNT = "000000000000";

type State = Record<string, unknown>;

export interface Created {
  id: string;
  /** The outputs of the resource beyond its inputs. */
  state: State;
}

interface Asked {
  type: string;
  /** Pulumi's name; AWS's name of a resource that was not asked to have another. */
  name: string;
  inputs: State;
}

const arn = (service: string, region: string, resource: string): string =>
  `arn:aws:${service}:${region}:${ACCOUNT}:${resource}`;

/** The outputs of a resource, for each type that the stack has and for no other. */
const TYPES: Record<string, (name: string, region: string, inputs: State) => Created> = {
  "aws:apigatewayv2/api:Api": (name, region) => ({
    id: name,
    state: {
      arn: `arn:aws:apigateway:${region}::/apis/${name}`,
      executionArn: arn("execute-api", region, name),
      apiEndpoint: `https://${name}.execute-api.${region}.amazonaws.com`,
    },
  }),
  "aws:apigatewayv2/authorizer:Authorizer": (name) => ({ id: name, state: { name } }),
  "aws:apigatewayv2/integration:Integration": (name) => ({ id: name, state: {} }),
  "aws:apigatewayv2/route:Route": (name) => ({ id: name, state: {} }),
  "aws:apigatewayv2/stage:Stage": (_, region, { apiId, name }) => ({
    id: String(name),
    state: { arn: `arn:aws:apigateway:${region}::/apis/${String(apiId)}/stages/${String(name)}` },
  }),
  "aws:athena/workgroup:Workgroup": (name, region) =>
    withArn(name, arn("athena", region, `workgroup/${name}`)),
  "aws:cloudwatch/dashboard:Dashboard": (name) => ({ id: name, state: {} }),
  "aws:cloudwatch/eventRule:EventRule": (name, region) =>
    withArn(name, arn("events", region, `rule/${name}`)),
  "aws:cloudwatch/eventTarget:EventTarget": (name) => ({ id: name, state: {} }),
  "aws:cloudwatch/logGroup:LogGroup": (name, region) =>
    withArn(name, arn("logs", region, `log-group:${name}`)),
  "aws:cloudwatch/metricAlarm:MetricAlarm": (name, region) =>
    withArn(name, arn("cloudwatch", region, `alarm:${name}`)),
  "aws:iam/policy:Policy": (name) => withArn(name, arn("iam", "", `policy/${name}`)),
  "aws:iam/role:Role": (name) => withArn(name, arn("iam", "", `role/${name}`)),
  "aws:iam/rolePolicy:RolePolicy": (name) => ({ id: name, state: { name } }),
  "aws:iam/rolePolicyAttachment:RolePolicyAttachment": (name) => ({ id: name, state: {} }),
  "aws:kms/alias:Alias": (name, region) => withArn(name, arn("kms", region, name)),
  "aws:kms/key:Key": (_, region) => {
    const id = "00000000-0000-0000-0000-000000000000";
    return { id, state: { arn: arn("kms", region, `key/${id}`), keyId: id } };
  },
  "aws:lambda/function:Function": (name, region) => {
    const own = arn("lambda", region, `function:${name}`);
    const invokeArn = `arn:aws:apigateway:${region}:lambda:path/2015-03-31/functions/${own}/invocations`;
    return { id: name, state: { name, arn: own, invokeArn } };
  },
  "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": (name) => ({
    id: name,
    state: {},
  }),
  "aws:lambda/permission:Permission": (name) => ({ id: name, state: { statementId: name } }),
  "aws:s3/bucket:Bucket": (name) => ({
    id: name,
    state: { bucket: name, arn: `arn:aws:s3:::${name}` },
  }),
  "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": ofBucket,
  "aws:s3/bucketOwnershipControls:BucketOwnershipControls": ofBucket,
  "aws:s3/bucketPolicy:BucketPolicy": ofBucket,
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": ofBucket,
  "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration":
    ofBucket,
  "aws:s3/bucketVersioning:BucketVersioning": ofBucket,
  "aws:scheduler/schedule:Schedule": (name, region, { groupName }) =>
    withArn(name, arn("scheduler", region, `schedule/${String(groupName)}/${name}`)),
  "aws:scheduler/scheduleGroup:ScheduleGroup": (name, region) =>
    withArn(name, arn("scheduler", region, `schedule-group/${name}`)),
  "aws:sfn/stateMachine:StateMachine": (name, region) =>
    withArn(name, arn("states", region, `stateMachine:${name}`)),
  "aws:sns/topic:Topic": (name, region) => withArn(name, arn("sns", region, name)),
  "aws:sns/topicPolicy:TopicPolicy": (name) => ({ id: name, state: {} }),
  "aws:sns/topicSubscription:TopicSubscription": (name) => ({ id: name, state: {} }),
  "aws:sqs/queue:Queue": (name, region) => {
    const url = `https://sqs.${region}.amazonaws.com/${ACCOUNT}/${name}`;
    return { id: url, state: { name, arn: arn("sqs", region, name), url } };
  },
  "aws:sqs/queuePolicy:QueuePolicy": (name) => ({ id: name, state: {} }),
};

function withArn(name: string, arn: string): Created {
  return { id: name, state: { name, arn } };
}

function ofBucket(_name: string, _region: string, { bucket }: State): Created {
  return { id: String(bucket), state: {} };
}

/** Makes up a resource. */
export function create({ type, name, inputs }: Asked, region: string): Created {
  if (type.startsWith("pulumi:") || type.startsWith("athena-workflow:")) {
    return { id: name, state: {} };
  }
  const made = TYPES[type];
  if (made === undefined) {
    throw new Error(`test/mocks.ts does not say what AWS answers for a \`${type}\``);
  }
  return made(typeof inputs.name === "string" ? inputs.name : name, region, inputs);
}

/** Answers the questions that the program asks before it makes anything. */
export function call(token: string): State {
  switch (token) {
    case "aws:index/getCallerIdentity:getCallerIdentity":
      return { accountId: ACCOUNT };
    case "aws:index/getPartition:getPartition":
      return { partition: "aws" };
    default:
      throw new Error(`test/mocks.ts does not say what AWS answers to \`${token}\``);
  }
}
