/**
 * The manifest: least permissions. None of them shows a warning at install.
 *
 *   activeTab, scripting   read the one image that was pointed at, on the tab it was pointed at in
 *   contextMenus           "Check this image"
 *   storage                settings, verdicts of this session, what left this browser
 *   sidePanel (Chromium)   the trusted copy of a verdict; WXT adds it, Firefox has a sidebar
 *   optional hosts         asked for one image host at a time, when an image cannot be read else
 *
 * Private windows are left alone. The user's server needs no permission: it
 * answers this extension by CORS, to a key that names it.
 */
import { defineConfig } from "wxt";

export default defineConfig({
  targetBrowsers: ["chrome", "firefox"],
  manifestVersion: 3,
  imports: false,
  manifest: ({ browser }) => ({
    name: "__MSG_extension_name__",
    description: "__MSG_extension_description__",
    default_locale: "en",
    permissions: ["activeTab", "contextMenus", "scripting", "storage"],
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
      : { minimum_chrome_version: "120" }),
  }),
  zip: {
    artifactTemplate: "{{name}}-{{version}}-{{browser}}.zip",
    sourcesTemplate: "{{name}}-{{version}}-firefox-sources.zip",
  },
});
