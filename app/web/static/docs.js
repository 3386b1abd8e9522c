// URLs are relative to the page's own, so that it works behind any prefix. Requests go to the server that served the
// page, wherever PUBLIC_URL points. Scalar's own services (fonts, telemetry, agent, proxy) stay off.
"use strict";
const base = new URL(".", location.href).href.replace(/\/$/, "");
Scalar.createApiReference("#reference", {
  url: `${base}/openapi.json`,
  servers: [{ url: base, description: "This server" }],
  authentication: { preferredSecurityScheme: "apiKey" },
  persistAuth: false,
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  hideClientButton: true,
  showDeveloperTools: "never",
  documentDownloadType: "json",
  defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
});
