/**
 * The manifest: least permissions. None of them shows a warning at install.
 *
 *   activeTab, scripting   read the one image that was pointed at, on the tab it was pointed at in
 *   contextMenus           "Check this image", "Pick an image to check"
 *   storage                settings, verdicts of this session, what left this browser
 *   declarativeNetRequestWithHostAccess
 *                          a Referer on one request of ours, where a host that we were let into
 *                          refuses an image without; it changes no request of a page
 *   offscreen (Chromium)   a page that nobody sees, where this browser judges by itself, if asked to
 *   sidePanel (Chromium)   the trusted copy of a verdict; WXT adds it, Firefox has a sidebar
 *   optional hosts         asked for one host at a time: a site that shall be watched, or an image
 *                          host, when an image cannot be read else
 *
 * Private windows are left alone. The user's server needs no permission: it
 * answers this extension by CORS, to a key that names it.
 */
import { defineConfig } from "wxt";

export default defineConfig({
  targetBrowsers: ["chrome", "firefox"],
  manifestVersion: 3,
  imports: false,
  vite: () => ({ worker: { format: "es" } }), // the thread of local/ is a module
  manifest: ({ browser }) => ({
    name: "__MSG_extension_name__",
    description: "__MSG_extension_description__",
    default_locale: "en",
    permissions: [
      "activeTab",
      "contextMenus",
      "declarativeNetRequestWithHostAccess",
      ...(browser === "firefox" ? [] : ["offscreen"]),
      "scripting",
      "storage",
    ],
    // Said in full, since Firefox else adds upgrade-insecure-requests: images and servers on plain
    // http, which is what local ones are, would be asked for by https and found by nobody.
    // Chromium runs the detector that the user has loaded; both refuse all code from elsewhere.
    content_security_policy: {
      extension_pages: `script-src 'self'${browser === "firefox" ? "" : " 'wasm-unsafe-eval'"}; object-src 'self'`,
    },
    optional_host_permissions: ["*://*/*"],
    incognito: "not_allowed",
    action: { default_title: "__MSG_extension_name__" },
    commands: {
      "check-focused": {
        suggested_key: { default: "Alt+Shift+I" },
        description: "__MSG_command_check_focused__",
      },
    },
    ...(browser === "firefox"
      ? {
          browser_specific_settings: {
            gecko: {
              id: "pinclip@pinclip.invalid",
              strict_min_version: "140.0",
              data_collection_permissions: { required: ["websiteContent"] },
            },
          },
        }
      : { minimum_chrome_version: "123" }),
  }),
  zip: {
    artifactTemplate: "{{name}}-{{version}}-{{browser}}.zip",
    sourcesTemplate: "{{name}}-{{version}}-firefox-sources.zip",
  },
});
