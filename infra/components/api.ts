import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

import { type LogKeeping, logGroup } from "./log-group";

/** The callers of the API: those that IAM allows, or those with a token of an issuer. */
export type Authorization = "iam" | { issuer: string; audience: string[]; scopes: string[] };

export interface ApiArgs {
  function: aws.lambda.Function;
  routes: readonly string[];
  authorization: Authorization;
  requestsPerSecond: number;
  requestsBurst: number;
  logs: LogKeeping;
}

/** The fields of the access log: none of the body or the headers of a request. */
const ACCESS_LOG = {
  requestId: "$context.requestId",
  requestTime: "$context.requestTime",
  sourceIp: "$context.identity.sourceIp",
  caller: "$context.identity.caller",
  routeKey: "$context.routeKey",
  path: "$context.path",
  status: "$context.status",
  responseLength: "$context.responseLength",
  integrationLatency: "$context.integrationLatency",
  integrationError: "$context.integrationErrorMessage",
  authorizerError: "$context.authorizer.error",
};

/** The HTTPS endpoint in front of a function. */
export class Api extends pulumi.ComponentResource {
  readonly api: aws.apigatewayv2.Api;

  constructor(name: string, args: ApiArgs, options: pulumi.ComponentResourceOptions) {
    super("athena-workflow:index:Api", name, {}, options);
    this.api = new aws.apigatewayv2.Api(
      name,
      { protocolType: "HTTP", description: `Starts and follows the runs of ${name}` },
      { parent: this },
    );
    const integration = new aws.apigatewayv2.Integration(
      name,
      {
        apiId: this.api.id,
        integrationType: "AWS_PROXY",
        integrationUri: args.function.invokeArn,
        payloadFormatVersion: "2.0",
        timeoutMilliseconds: 30_000,
      },
      { parent: this },
    );
    const authorization = this.createAuthorization(name, args.authorization);
    for (const routeKey of args.routes) {
      new aws.apigatewayv2.Route(
        `${name} ${routeKey}`,
        {
          apiId: this.api.id,
          routeKey,
          target: pulumi.interpolate`integrations/${integration.id}`,
          ...authorization,
        },
        { parent: this },
      );
      // AWS's name of it is made from this one, and has letters, digits, `-` and `_` only.
      const words = routeKey.match(/\w+/g) ?? [];
      new aws.lambda.Permission(
        [name, ...words].join("-"),
        {
          function: args.function.name,
          action: "lambda:InvokeFunction",
          principal: "apigateway.amazonaws.com",
          sourceArn: pulumi.interpolate`${this.api.executionArn}/*/${routeKey.replace(" /", "/")}`,
        },
        { parent: this },
      );
    }
    this.createStage(name, args);
    this.registerOutputs();
  }

  private createAuthorization(
    name: string,
    authorization: Authorization,
  ): Pick<
    aws.apigatewayv2.RouteArgs,
    "authorizationType" | "authorizerId" | "authorizationScopes"
  > {
    if (authorization === "iam") {
      return { authorizationType: "AWS_IAM" };
    }
    const { issuer, audience, scopes } = authorization;
    const authorizer = new aws.apigatewayv2.Authorizer(
      name,
      {
        apiId: this.api.id,
        authorizerType: "JWT",
        identitySources: ["$request.header.Authorization"],
        jwtConfiguration: { issuer, audiences: audience },
      },
      { parent: this },
    );
    return {
      authorizationType: "JWT",
      authorizerId: authorizer.id,
      ...(scopes.length > 0 && { authorizationScopes: scopes }),
    };
  }

  private createStage(name: string, args: ApiArgs): void {
    const logs = logGroup(`${name}-access`, `/aws/vendedlogs/apis/${name}`, args.logs, this);
    new aws.apigatewayv2.Stage(
      name,
      {
        apiId: this.api.id,
        name: "$default",
        autoDeploy: true,
        defaultRouteSettings: {
          throttlingRateLimit: args.requestsPerSecond,
          throttlingBurstLimit: args.requestsBurst,
        },
        accessLogSettings: { destinationArn: logs.arn, format: JSON.stringify(ACCESS_LOG) },
      },
      { parent: this },
    );
  }
}
