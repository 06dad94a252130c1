// Renders /openapi.json (OpenAPI 3.1) as a page. It asks nothing of any other place, and sets text as text only.
"use strict";

const DEPTH_MAX = 8;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

// prose with `code` in it
function prose(text) {
  return text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));
}

function refName(schema) {
  return schema && schema.$ref ? schema.$ref.split("/").pop() : null;
}

function schemaLink(name) {
  return element("a", { href: `#schema-${name}`, class: "type" }, name);
}

function errorLink(code) {
  return element("a", { href: `#error-${code}`, class: "code" }, code);
}

function joined(parts, separator) {
  return parts.flatMap((part, at) => (at ? [separator, part] : [part]));
}

// what a schema allows, in one line
function typeOf(schema) {
  if (schema === true || Object.keys(schema).length === 0) return [element("span", { class: "type" }, "anything")];
  const name = refName(schema);
  if (name) return [schemaLink(name)];
  if (schema.const !== undefined) return [element("code", {}, JSON.stringify(schema.const))];
  if (schema.enum) return joined(schema.enum.map((value) => element("code", {}, JSON.stringify(value))), " | ");
  const choices = schema.anyOf || schema.oneOf;
  if (choices && !schema.properties) return joined(choices.map((choice) => element("span", {}, typeOf(choice))), " or ");
  if (schema.allOf) return joined(schema.allOf.filter((part) => part.$ref).map(typeOf).flat(), " and ");
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items ?? true)];
  if (schema.patternProperties) return ["object of ", ...typeOf(Object.values(schema.patternProperties)[0])];
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return ["object of ", ...typeOf(schema.additionalProperties)];
  }
  return [element("span", { class: "type" }, [].concat(schema.type ?? "anything").join(" | "))];
}

// the bounds of a value, in words
function boundsOf(schema) {
  const words = [];
  const { minimum, maximum, minLength, maxLength, minItems, maxItems, maxProperties } = schema;
  if (minimum !== undefined && maximum !== undefined) words.push(`${minimum} … ${maximum}`);
  else if (minimum !== undefined) words.push(`at least ${minimum}`);
  else if (maximum !== undefined) words.push(`at most ${maximum}`);
  if (minLength) words.push(`at least ${minLength} characters`);
  if (maxLength !== undefined) words.push(`at most ${maxLength} characters`);
  if (minItems !== undefined && minItems === maxItems) words.push(`exactly ${minItems} items`);
  else {
    if (minItems) words.push(`at least ${minItems} items`);
    if (maxItems !== undefined) words.push(`at most ${maxItems} items`);
  }
  if (maxProperties !== undefined) words.push(`at most ${maxProperties} members`);
  if (schema.uniqueItems) words.push("each once");
  if (schema.default !== undefined && schema.default !== null) words.push(`default ${JSON.stringify(schema.default)}`);
  const found = words.map((word) => element("span", { class: "bound" }, word));
  const pattern = schema.pattern ?? schema.anyOf?.find((choice) => choice.pattern)?.pattern;
  if (pattern) found.push(element("code", { class: "bound pattern" }, pattern));
  return found;
}

function membersOf(schema, schemas, depth) {
  const required = new Set(schema.required ?? []);
  return element(
    "ul", { class: "members" },
    Object.entries(schema.properties ?? {}).map(([name, member]) =>
      element(
        "li", {},
        element("code", { class: "name" }, name),
        required.has(name) ? null : element("span", { class: "optional" }, "optional"),
        element("span", { class: "types" }, typeOf(member)),
        boundsOf(member),
        member.description ? element("p", {}, prose(member.description)) : null,
        nestedOf(member, schemas, depth),
      ),
    ),
  );
}

// the first schema inside that has a name and members, folded away below the top
function nestedOf(schema, schemas, depth) {
  if (depth >= DEPTH_MAX || typeof schema !== "object") return null;
  for (const inner of [schema, schema.items, ...(schema.items?.anyOf ?? []), ...(schema.anyOf ?? [])]) {
    const name = refName(inner);
    if (name && schemas[name]?.properties) {
      return element(
        "details", {}, element("summary", {}, `members of ${name}`), membersOf(schemas[name], schemas, depth + 1),
      );
    }
  }
  return null;
}

function schemaView(schema, schemas) {
  const name = refName(schema);
  const whole = name ? schemas[name] : schema;
  const view = element("div", { class: "schema" });
  view.append(element("p", {}, element("span", { class: "types" }, typeOf(schema))));
  if (whole.description) view.append(element("p", {}, prose(whole.description)));
  if (whole.properties) view.append(membersOf(whole, schemas, 0));
  return view;
}

function parameterTable(parameters) {
  if (!parameters?.length) return null;
  return element(
    "section", {}, element("h4", {}, "Parameters"),
    element(
      "div", { class: "scroll" },
      element(
        "table", {},
        element("thead", {}, element("tr", {}, ["name", "in", "what", ""].map((text) => element("th", {}, text)))),
        element(
          "tbody", {},
          parameters.map((parameter) =>
            element(
              "tr", {},
              element("td", {}, element("code", { class: "name" }, parameter.name)),
              element("td", {}, parameter.in + (parameter.required ? ", required" : "")),
              element("td", {}, prose(parameter.description ?? "")),
              element("td", {}, element("span", { class: "types" }, typeOf(parameter.schema)), boundsOf(parameter.schema)),
            ),
          ),
        ),
      ),
    ),
  );
}

function responseView(status, response, schemas) {
  const codes = response["x-codes"] ?? [];
  const good = status.startsWith("2");
  const parts = [element("span", { class: `status s${status[0]}` }, status)];
  if (good) parts.push(` ${response.description} `);
  for (const code of codes) parts.push(" ", errorLink(code));
  const view = element("div", { class: "response" }, element("p", {}, parts));
  for (const [media, content] of Object.entries(response.content ?? {})) {
    if (media === "application/problem+json") continue;
    const text = content.schema?.description && !content.schema.properties ? prose(content.schema.description) : null;
    view.append(element("p", { class: "media" }, media, text ? ": " : null, text));
    if (refName(content.schema)) view.append(schemaView(content.schema, schemas));
  }
  return view;
}

function endpointView(path, method, operation, schemas) {
  const view = element(
    "article", { id: `endpoint-${operation.operationId}`, class: "endpoint", "data-endpoint": operation.operationId },
    element(
      "h3", {},
      element("span", { class: `method ${method}` }, method.toUpperCase()), " ",
      element("code", { class: "path" }, path), " ",
      element("a", { class: "anchor", href: `#endpoint-${operation.operationId}`, "aria-label": "Link to this" }, "#"),
    ),
    element("p", { class: "summary" }, prose(operation.summary)),
    element("p", { class: "access" }, operation["x-access"]),
    parameterTable(operation.parameters),
  );
  if (operation.requestBody) {
    const content = operation.requestBody.content["application/json"];
    view.append(
      element(
        "section", {}, element("h4", {}, "Body"),
        element("p", {}, prose(operation.requestBody.description)), schemaView(content.schema, schemas),
      ),
    );
  }
  view.append(
    element(
      "section", {}, element("h4", {}, "Answers"),
      Object.entries(operation.responses).map(([status, response]) => responseView(status, response, schemas)),
    ),
  );
  return view;
}

function errorsView(errors) {
  return element(
    "section", { id: "errors" }, element("h2", {}, "Errors"),
    element(
      "p", {},
      ...prose("Every error is `application/problem+json`; `code` is what programs look at, `request_id` what to tell the operator."),
    ),
    errors.map((error) =>
      element(
        "article", { id: `error-${error.code}`, class: "error" },
        element("h3", {}, element("span", { class: `status s${String(error.status)[0]}` }, String(error.status)), " ",
          element("code", {}, error.code)),
        element("p", {}, `${error.title}.`, error.hint ? ` What to do: ${error.hint}.` : null),
        element("p", { class: "access" }, error.retryable ? "The same request may be sent again later." : "The same request will fail again."),
      ),
    ),
  );
}

function schemasView(schemas) {
  return element(
    "section", { id: "schemas" }, element("h2", {}, "Messages"),
    Object.entries(schemas).map(([name, schema]) =>
      element(
        "article", { id: `schema-${name}`, class: "message" }, element("h3", {}, element("code", {}, name)),
        schema.description ? element("p", {}, prose(schema.description)) : null, membersOf(schema, schemas, 0),
      ),
    ),
  );
}

function operationsOf(document_) {
  return Object.entries(document_.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
}

function contentsView(document_, operations) {
  const list = (title, items) => element("section", {}, element("h2", {}, title), element("ul", {}, items));
  const groups = document_.tags.map((tag) =>
    list(
      tag.name,
      operations.filter(({ operation }) => operation.tags[0] === tag.name).map(({ path, method, operation }) =>
        element(
          "li", { "data-text": `${method} ${path} ${operation.summary}`.toLowerCase() },
          element(
            "a", { href: `#endpoint-${operation.operationId}` },
            element("span", { class: `method ${method}` }, method.toUpperCase()), " ", path,
          ),
        ),
      ),
    ),
  );
  groups.push(
    list("more", [
      element("li", {}, element("a", { href: "#errors" }, "Errors")),
      element("li", {}, element("a", { href: "#schemas" }, "Messages")),
    ]),
  );
  return groups;
}

function filterContents(text) {
  for (const item of document.querySelectorAll("#contents li[data-text]")) {
    item.hidden = !item.dataset.text.includes(text.trim().toLowerCase());
  }
}

function render(document_) {
  const schemas = document_.components.schemas;
  const operations = operationsOf(document_);
  document.title = document_.info.title;
  document.getElementById("title").textContent = document_.info.title;
  document.getElementById("about").textContent = document_.info.description;
  document.getElementById("version").textContent = `version ${document_.info.version}, OpenAPI ${document_.openapi}`;
  document.getElementById("contents").append(...contentsView(document_, operations));
  const main = document.getElementById("main");
  for (const tag of document_.tags) {
    main.append(
      element(
        "section", { id: `tag-${tag.name}` }, element("h2", {}, tag.name), element("p", {}, tag.description),
        operations.filter(({ operation }) => operation.tags[0] === tag.name)
          .map(({ path, method, operation }) => endpointView(path, method, operation, schemas)),
      ),
    );
  }
  main.append(errorsView(document_["x-errors"]), schemasView(schemas));
  main.removeAttribute("aria-busy");
}

// the address's anchor was looked for before there was anything: go there again
function goTo(hash) {
  if (!hash) return;
  history.replaceState(null, "", location.pathname);
  location.replace(hash);
}

async function start() {
  const main = document.getElementById("main");
  try {
    const response = await fetch("/openapi.json");
    if (!response.ok) throw new Error(`/openapi.json answered ${response.status}`);
    render(await response.json());
  } catch (error) {
    main.replaceChildren(element("p", { class: "failed", role: "alert" }, `This page could not be made: ${error.message}`));
    main.removeAttribute("aria-busy");
    return;
  }
  document.getElementById("filter").addEventListener("input", (event) => filterContents(event.target.value));
  goTo(location.hash);
}

start();
