import { start } from "../../ui/panel";

void start();
