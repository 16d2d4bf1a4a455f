import { defineConfig } from "vitest/config";
import { WxtVitest } from "wxt/testing/vitest-plugin";

export default defineConfig({
  plugins: [await WxtVitest()],
  test: {
    include: ["{lib,ui,scripts,page,local}/**/*.test.ts"],
    mockReset: true,
    restoreMocks: true,
  },
});
