/**
 * Reads values that somebody wrote by hand, and collects everything that is wrong with them.
 *
 * A parser gives a value of its type whatever it is given: what does not fit is reported, and a
 * stand-in is given back. So a caller must not use the values if anything was reported.
 */

/** One thing that is wrong: where, and what was expected and found. */
export type Report = (at: string, message: string) => void;

export type Parser<T> = (value: unknown, at: string, report: Report) => T;

export type Fields = Readonly<Record<string, unknown>>;

function found(value: unknown): string {
  if (value === undefined) {
    return "found nothing";
  }
  return `found \`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A text; `pattern` says which, and `expected` says the same to people. */
export function text(pattern = /^/, expected = "a text"): Parser<string> {
  return textThat((value) => pattern.test(value), expected);
}

/** A text that `fits`. */
export function textThat(fits: (text: string) => boolean, expected: string): Parser<string> {
  return (value, at, report) => {
    if (typeof value === "string" && fits(value)) {
      return value;
    }
    report(at, `expected ${expected}, ${found(value)}`);
    return "";
  };
}

export function oneOf<T extends string | number>(...values: [T, ...T[]]): Parser<T> {
  return (value, at, report) => {
    const known = values.find((candidate) => candidate === value);
    if (known === undefined) {
      report(
        at,
        `expected one of ${values.map((value) => `\`${value}\``).join(", ")}, ${found(value)}`,
      );
    }
    return known ?? values[0];
  };
}

export function integer(min: number, max: number): Parser<number> {
  return (value, at, report) => {
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) {
      return value;
    }
    report(at, `expected a whole number from ${min} to ${max}, ${found(value)}`);
    return min;
  };
}

export const boolean: Parser<boolean> = (value, at, report) => {
  if (typeof value !== "boolean") {
    report(at, `expected \`true\` or \`false\`, ${found(value)}`);
  }
  return value === true;
};

export function list<T>(item: Parser<T>): Parser<T[]> {
  return (value, at, report) => {
    if (!Array.isArray(value)) {
      report(at, `expected a list, ${found(value)}`);
      return [];
    }
    return value.map((element, index) => item(element, `${at}[${index}]`, report));
  };
}

/** A field that may be left out. */
export function optional<T>(parser: Parser<T>, fallback: T): Parser<T> {
  return (value, at, report) => (value === undefined ? fallback : parser(value, at, report));
}

/** An object of these fields and no others. */
export function fields<T extends object>(parsers: { [K in keyof T]: Parser<T[K]> }): Parser<T> {
  const known = Object.keys(parsers) as (keyof T & string)[];
  return (value, at, report) => {
    if (!isFields(value)) {
      report(at, `expected an object, ${found(value)}`);
    }
    const given: Fields = isFields(value) ? value : {};
    for (const key of Object.keys(given)) {
      if (!known.some((field) => field === key)) {
        report(
          `${at}.${key}`,
          `is not known here, expected ${known.map((field) => `\`${field}\``).join(", ")}`,
        );
      }
    }
    const entries = known.map((field) => [
      field,
      parsers[field](given[field], `${at}.${field}`, isFields(value) ? report : silent),
    ]);
    return Object.fromEntries(entries) as T;
  };
}

/** Any object. */
export const anyFields: Parser<Fields> = (value, at, report) => {
  if (isFields(value)) {
    return value;
  }
  report(at, `expected an object, ${found(value)}`);
  return {};
};

/** Reports every value that comes twice. */
export function reportTwice(values: string[], at: (index: number) => string, report: Report): void {
  values.forEach((value, index) => {
    if (values.indexOf(value) < index) {
      report(at(index), `\`${value}\` is there twice`);
    }
  });
}

function silent(): void {
  // What holds the field has been reported.
}
