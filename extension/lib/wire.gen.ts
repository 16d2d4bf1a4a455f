// Generated from docs/openapi.json by `npm run wire`. Never edited.

export interface paths {
    "/compat/openai/v1/moderations": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Judge images for OpenAI's client
         * @description Category `ai_generated`, as OpenAI's moderation has its own. Waits for the verdicts; an image without one is an error, never `flagged: false`.
         */
        post: operations["createModeration"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/compat/pictrs/{secret}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Judge an image for pict-rs
         * @description As `external_validation` of pict-rs asks. PINCLIP_PICTRS_ON_FAILURE says what is answered where there is no verdict.
         */
        post: operations["vetForPictrs"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/healthz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Ask whether the process lives
         * @description Asks nothing else, neither the store nor Redis.
         */
        get: operations["getHealth"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read the metrics
         * @description What this process has counted, and how the system is now, for Prometheus.
         */
        get: operations["getMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Ask whether a scan can be taken now
         * @description Names the store, Redis and the workers, and what is wrong with each.
         */
        get: operations["getReadiness"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/schema": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read this document
         * @description OpenAPI 3.1.
         */
        get: operations["getSchema"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/appeals": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List appeals
         * @description Those of the key's owner, newest first, a page at a time.
         */
        get: operations["listAppeals"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/appeals/{appeal_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read an appeal
         * @description As it is now.
         */
        get: operations["getAppeal"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/appeals/{appeal_id}/decision": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Decide an appeal
         * @description Overturned, the scan is `inconclusive`, and so are all scans of the owner with these bytes, past and to come. An appeal is decided once.
         */
        post: operations["decideAppeal"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/batches": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Have up to 1,000 images judged
         * @description The scans are done as bulk unless they say otherwise. One that cannot be accepted is refused by itself, in the results; the others go on. Not for publishable keys.
         */
        post: operations["createBatch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/batches/{batch_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read how far a batch is
         * @description `completed` once every scan of it is final. Not for publishable keys.
         */
        get: operations["getBatch"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/batches/{batch_id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel what of a batch is not final
         * @description What is final stays. Not for publishable keys.
         */
        post: operations["cancelBatch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/batches/{batch_id}/results": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read the results of a batch
         * @description A BatchResult a line, in the order of the request; scans that are not final are there as they are. Not for publishable keys.
         */
        get: operations["getBatchResults"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/errors/{code}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read what an error code means
         * @description A problem's `type` is such an address, but for 429, whose `type` is the one that IANA has for it; codes of failed scans have one too.
         */
        get: operations["getErrorCode"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/feedback": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List feedback
         * @description On all scans of the key's owner, newest first, a page at a time. Not for publishable keys.
         */
        get: operations["listFeedback"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/key": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read what the key may do
         * @description The owner, the scopes and the limits of the key that asks.
         */
        get: operations["getKey"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/lookups": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Ask what is known of bytes by their sha256
         * @description An answer for each of up to 100, in the same order; `verdict` is null where nothing is known. Costs as much as one scan.
         */
        post: operations["lookUp"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/lookups/range/{prefix}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Ask without saying of what
         * @description All known sha256 that begin with five hex digits: look for yours among them, and nobody learns which it was.
         */
        get: operations["lookUpRange"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/models": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the models
         * @description Those that live workers score with now.
         */
        get: operations["listModels"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/models/{model_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read about a model
         * @description With its card: what it was trained on, and how often it is wrong.
         */
        get: operations["getModel"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/models/{model_id}/gate-report": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read why a model was let in
         * @description How it compares with the one before it, as `pinclip gate` reported.
         */
        get: operations["getGateReport"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/models/{model_id}/onnx": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get a model's file
         * @description ONNX, with preprocessing, calibration and thresholds in its metadata. One `Range` of it may be asked for. Whoever runs the server names the file by PINCLIP_ONNX.
         */
        get: operations["getModelFile"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/scans": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List scans
         * @description Those of the key's owner, newest first, a page at a time. A filter that does not exist is refused. Not for publishable keys.
         */
        get: operations["listScans"];
        put?: never;
        /**
         * Have an image judged
         * @description Takes exactly one of `url`, `upload_id` and `sha256`. Poll the Location until `status` is completed, failed or canceled, follow its events, or ask with `Prefer: wait=N` to be answered then. Send `priority: bulk` with what nobody waits for: the scans of people then go first. What was judged at this operating point within a day, as far as one can know the same bytes by the same model, is completed at once: an upload of these bytes, or a URL whose host vouches for its answer until later (RFC 9111). With `sha256` alone only what is known is told; of unknown bytes send the upload.
         */
        post: operations["submitScan"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/scans/{scan_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read a scan
         * @description A scan whose image could not be fetched or read is `failed`, with `error`; that is an answer of this operation and no HTTP error.
         */
        get: operations["getScan"];
        put?: never;
        post?: never;
        /**
         * Erase a scan
         * @description Erases the scan, its appeals, feedback, events and upload; one that is not final is canceled by it. That it was erased stays in the audit log, and `expired` is what is heard of it from then on. Not for publishable keys.
         */
        delete: operations["eraseScan"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/scans/{scan_id}/appeals": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Dispute a verdict
         * @description Only `likely_ai` and `declared_ai` can be disputed, once a scan.
         */
        post: operations["createAppeal"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/scans/{scan_id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel a scan
         * @description What a worker finds afterwards changes nothing. Not for publishable keys.
         */
        post: operations["cancelScan"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/scans/{scan_id}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Follow a scan
         * @description Server-sent events: each has the scan as `data` and its `sequence` as `id`. Ends once the scan is final, or the server stops: ask again with Last-Event-ID, and hear 204 where there is nothing to come. Accept must allow application/json or text/event-stream.
         */
        get: operations["followScan"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/scans/{scan_id}/feedback": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the feedback of a scan
         * @description Newest first, a page at a time. Not for publishable keys.
         */
        get: operations["listScanFeedback"];
        put?: never;
        /**
         * Say what an image is
         * @description Recorded for the owner to read, with the verdict as it is now. It changes no verdict: an appeal asks for a decision. Up to 20 for each final scan; for publishable keys, too.
         */
        post: operations["createFeedback"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/scans/{scan_id}/receipt": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Have a verdict signed
         * @description What was said of which bytes, signed, so that it can be checked without us.
         */
        get: operations["getReceipt"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/scans/{scan_id}/rescore": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Judge an image again
         * @description Makes a new scan of the same input that is looked at anew, by the model of now. The old one keeps its verdict and names the new one as `superseded_by`. Not for publishable keys.
         */
        post: operations["rescoreScan"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/uploads": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send the bytes of an image
         * @description The body is the image itself, or a form with one file; at most 20 MiB. The bytes are kept for 15 minutes, to be named as `upload_id` of a scan.
         */
        post: operations["createUpload"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List endpoints
         * @description All of the key's owner, newest first, without their secrets.
         */
        get: operations["listWebhooks"];
        put?: never;
        /**
         * Register an endpoint
         * @description Events are delivered to it from now on. The answer alone shows its secret, and so does that to the same request with the same Idempotency-Key.
         */
        post: operations["createWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/callback-secret": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read the callback secret
         * @description What deliveries to a `callback_url` are signed with.
         */
        get: operations["getCallbackSecret"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/callback-secret/rotate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Replace the callback secret
         * @description The old one signs, beside the new one, for 24 h more.
         */
        post: operations["rotateCallbackSecret"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{endpoint_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read an endpoint
         * @description Without its secret.
         */
        get: operations["getWebhook"];
        put?: never;
        post?: never;
        /**
         * Forget an endpoint
         * @description And its deliveries. The events stay, for other endpoints.
         */
        delete: operations["deleteWebhook"];
        options?: never;
        head?: never;
        /**
         * Change an endpoint
         * @description What is not named stays. `"state": "enabled"` sends what waited.
         */
        patch: operations["changeWebhook"];
        trace?: never;
    };
    "/v1/webhooks/{endpoint_id}/deliveries": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List an endpoint's deliveries
         * @description Those of the last 30 days, newest first, a page at a time.
         */
        get: operations["listDeliveries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{endpoint_id}/deliveries/{delivery_id}/replay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a delivery's event again
         * @description Under a new id, with `replay_of`.
         */
        post: operations["replayDelivery"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{endpoint_id}/events/{event_id}/replay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send an event to an endpoint
         * @description An event of the last 30 days, whether or not it was sent there before.
         */
        post: operations["replayEvent"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{endpoint_id}/rotate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Replace an endpoint's secret
         * @description The old one signs, beside the new one, for 24 h more.
         */
        post: operations["rotateWebhookSecret"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{endpoint_id}/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a test event
         * @description Read the delivery to see whether it arrived.
         */
        post: operations["testWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export interface webhooks {
    event: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * What an endpoint or a callback_url is sent
         * @description Signed as Standard Webhooks 1.0.0 has it; sdk.webhooks.unwrap verifies it. The same event may come again, under the same id.
         */
        post: operations["receiveEvent"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export interface components {
    schemas: {
        /**
         * Appeal
         * @description A dispute about one scan's verdict, and what was decided.
         */
        Appeal: {
            created_at: string;
            decided_at: string | null;
            evidence_url: string | null;
            id: string;
            note: string | null;
            reason: string;
            scan_id: string;
            state: components["schemas"]["AppealState"];
        };
        /**
         * AppealDecision
         * @description What a person decides: the verdict stands (uphold), or it does not (overturn).
         * @enum {unknown}
         */
        AppealDecision: "overturn" | "uphold";
        /**
         * AppealDecisionRequest
         * @description The body of POST /v1/appeals/{id}/decision. Overturned bytes are never accused again.
         */
        AppealDecisionRequest: {
            decision: components["schemas"]["AppealDecision"];
            /** @default  */
            note: string;
        };
        /**
         * AppealList
         * @description One page of the owner's appeals, newest first.
         */
        AppealList: {
            data: components["schemas"]["Appeal"][];
            has_more: boolean;
            next_cursor: string | null;
        };
        /**
         * AppealRequest
         * @description The body of POST /v1/scans/{id}/appeals: why the verdict is wrong, in words.
         */
        AppealRequest: {
            /** Format: uri */
            evidence_url?: string;
            reason: string;
        };
        /**
         * AppealState
         * @description Where a dispute about a verdict stands.
         * @enum {unknown}
         */
        AppealState: "none" | "open" | "overturned" | "upheld";
        /**
         * Batch
         * @description Many scans that were asked for at once, and how far they are.
         */
        Batch: {
            completed_at: string | null;
            counts: components["schemas"]["BatchCounts"];
            created_at: string;
            id: string;
            metadata: {
                [key: string]: string;
            };
            status: components["schemas"]["BatchStatus"];
        };
        /**
         * BatchCounts
         * @description How many of a batch's items are where; they add up to `total`.
         */
        BatchCounts: {
            canceled: number;
            completed: number;
            failed: number;
            refused: number;
            total: number;
            waiting: number;
        };
        /**
         * BatchRequest
         * @description The body of POST /v1/batches: 1 to 1,000 scans, done as bulk unless they say otherwise.
         *
         *     A scan that cannot be accepted is refused by itself, in `results`; the others go on.
         *     `callback_url` is told when the batch is complete.
         */
        BatchRequest: {
            /** Format: uri */
            callback_url?: string;
            /** @default {} */
            metadata: {
                [key: string]: string;
            };
            scans: components["schemas"]["ScanRequest"][];
        };
        /**
         * BatchResult
         * @description One line of a batch's results: the scan, or why there is none. `index` counts from 0.
         */
        BatchResult: {
            index: number;
            problem: components["schemas"]["Problem"] | null;
            scan: components["schemas"]["Scan"] | null;
        };
        /**
         * BatchStatus
         * @description Where a batch is; `completed` once every scan of it is final.
         * @enum {unknown}
         */
        BatchStatus: "completed" | "running";
        /**
         * CallbackSecret
         * @description What the events to a scan's or batch's `callback_url` are signed with.
         */
        CallbackSecret: {
            secret: string;
        };
        /**
         * Declaration
         * @description What the file says of its own making, and how far that can be trusted.
         */
        Declaration: {
            kind: string;
            signer: string | null;
            source_type: string | null;
            trust: string;
        };
        /**
         * Delivery
         * @description One event on its way to one endpoint: attempts made, and what the last one met.
         */
        Delivery: {
            attempts: number;
            created_at: string;
            delivered_at: string | null;
            endpoint_id: string;
            event_id: string;
            event_type: components["schemas"]["EventType"];
            id: string;
            last_error: string | null;
            last_status: number | null;
            next_attempt_at: string | null;
            state: components["schemas"]["DeliveryState"];
        };
        /**
         * DeliveryList
         * @description One page of an endpoint's deliveries, newest first.
         */
        DeliveryList: {
            data: components["schemas"]["Delivery"][];
            has_more: boolean;
            next_cursor: string | null;
        };
        /**
         * DeliveryState
         * @description Where one delivery is: it waits for its next attempt, arrived, or was given up.
         * @enum {unknown}
         */
        DeliveryState: "delivered" | "failed" | "pending";
        /**
         * Endpoint
         * @description Where events are delivered. `secret` is shown when it is made or rotated, and never again.
         */
        Endpoint: {
            created_at: string;
            description: string;
            disabled_reason: string | null;
            events: components["schemas"]["EventType"][];
            id: string;
            secret: string | null;
            state: components["schemas"]["EndpointState"];
            url: string;
        };
        /**
         * EndpointList
         * @description All endpoints of the owner, newest first.
         */
        EndpointList: {
            data: components["schemas"]["Endpoint"][];
        };
        /**
         * EndpointPatch
         * @description The body of PATCH /v1/webhooks/{id}: what is not named stays.
         */
        EndpointPatch: {
            description?: string;
            events?: components["schemas"]["EventType"][];
            state?: components["schemas"]["EndpointState"];
            /** Format: uri */
            url?: string;
        };
        /**
         * EndpointRequest
         * @description The body of POST /v1/webhooks: where to deliver which events; no `events` means all.
         */
        EndpointRequest: {
            /** @default  */
            description: string;
            /** @default [] */
            events: components["schemas"]["EventType"][];
            /** Format: uri */
            url: string;
        };
        /**
         * EndpointState
         * @description Whether deliveries are made to an endpoint. Events are kept either way.
         * @enum {unknown}
         */
        EndpointState: "disabled" | "enabled";
        /**
         * ErrorFacts
         * @description What a code means; `status` is null for the code of a failed scan, which is no HTTP error.
         */
        ErrorFacts: {
            code: string;
            hint: string;
            retryable: boolean;
            status: number | null;
            title: string;
        };
        /**
         * Event
         * @description The body of a delivery. One fact has one `id`, however often it is sent.
         *
         *     The highest `sequence` of a scan is its newest state; events may arrive in any order.
         *     `replay_of` names the event that was sent again on request.
         */
        Event: {
            data: components["schemas"]["EventData"];
            id: string;
            replay_of: string | null;
            sequence: number;
            timestamp: string;
            type: components["schemas"]["EventType"];
        };
        /**
         * EventData
         * @description What an event is about: the scan as it is then, or the batch, the appeal, the endpoint.
         *
         *     `previous` is the verdict before, and `cause` what changed it (rescore, appeal).
         */
        EventData: {
            /** @default null */
            appeal: components["schemas"]["Appeal"] | null;
            /** @default null */
            batch: components["schemas"]["Batch"] | null;
            /** @default null */
            cause: string | null;
            /** @default null */
            endpoint: components["schemas"]["Endpoint"] | null;
            /** @default null */
            previous: components["schemas"]["Verdict"] | null;
            /** @default null */
            scan: components["schemas"]["Scan"] | null;
        };
        /**
         * EventType
         * @description What an event says has happened.
         * @enum {unknown}
         */
        EventType: "appeal.created" | "appeal.decided" | "batch.completed" | "ping" | "scan.completed" | "scan.failed" | "scan.verdict_changed" | "webhook.disabled";
        /**
         * Fault
         * @description One thing wrong with a request: a JSON pointer, a code and a sentence.
         */
        Fault: {
            code: string;
            detail: string;
            pointer: string;
        };
        /**
         * Feedback
         * @description A person's word on a scan's image. It changes no verdict: an appeal asks for a decision.
         *
         *     `verdict` and `sha256` are the scan's as they were then, null where it had none.
         */
        Feedback: {
            comment: string;
            created_at: string;
            id: string;
            label: components["schemas"]["FeedbackLabel"];
            scan_id: string;
            sha256: string | null;
            verdict: components["schemas"]["Verdict"] | null;
        };
        /**
         * FeedbackLabel
         * @description What a person says that an image is.
         * @enum {unknown}
         */
        FeedbackLabel: "ai" | "not_ai";
        /**
         * FeedbackList
         * @description One page of feedback, newest first.
         */
        FeedbackList: {
            data: components["schemas"]["Feedback"][];
            has_more: boolean;
            next_cursor: string | null;
        };
        /**
         * FeedbackRequest
         * @description The body of POST /v1/scans/{id}/feedback: what the image is, says who has seen it.
         */
        FeedbackRequest: {
            /** @default  */
            comment: string;
            label: components["schemas"]["FeedbackLabel"];
        };
        /**
         * HashRange
         * @description All known sha256 that begin with `prefix`: who asks tells five digits and no more.
         *
         *     The `sha256` of each entry is whole; look for yours among them.
         */
        HashRange: {
            data: components["schemas"]["Lookup"][];
            prefix: string;
        };
        /**
         * Health
         * @description Whether the system can take a scan now; `checks` names each part and what is wrong.
         */
        Health: {
            checks: Record<string, never>;
            status: string;
        };
        /**
         * ImagePart
         * @description One image of a moderation request.
         */
        ImagePart: {
            image_url: components["schemas"]["ImageUrl"];
            type: components["schemas"]["PartType"];
        };
        /**
         * ImageUrl
         * @description Where the image is: http, https, or data: with its bytes in base64.
         */
        ImageUrl: {
            url: string;
        };
        /**
         * Input
         * @description The bytes that were judged, and where they came from.
         */
        Input: {
            bytes: number | null;
            fetched_by: string | null;
            final_url: string | null;
            frames: number | null;
            height: number | null;
            kind: components["schemas"]["InputKind"];
            mime: string | null;
            sha256: string | null;
            url: string | null;
            variant: string;
            width: number | null;
        };
        /**
         * InputKind
         * @description How the image reached us.
         * @enum {unknown}
         */
        InputKind: "sha256" | "upload" | "url";
        /**
         * KeyFacts
         * @description What the key that asks may do. `id` is null for a caller without one on this machine.
         */
        KeyFacts: {
            expires_at: string | null;
            id: string | null;
            owner: string;
            parallel: number | null;
            quota_per_day: number | null;
            rate_per_minute: number | null;
            scopes: components["schemas"]["Scope"][];
        };
        /**
         * Lookup
         * @description What is known of some bytes at one operating point; `verdict` is null where nothing is.
         */
        Lookup: {
            judged_at: string | null;
            model: components["schemas"]["Model"] | null;
            operating_point: components["schemas"]["OperatingPoint"] | null;
            probability: number | null;
            sha256: string;
            verdict: components["schemas"]["Verdict"] | null;
        };
        /**
         * LookupList
         * @description An answer for each sha256 asked for, in the same order.
         */
        LookupList: {
            data: components["schemas"]["Lookup"][];
        };
        /**
         * LookupRequest
         * @description The body of POST /v1/lookups: 1 to 100 sha256 (64 hex digits) of images' bytes.
         */
        LookupRequest: {
            /** @default balanced */
            operating_point: components["schemas"]["PointName"];
            sha256: string[];
        };
        /**
         * Model
         * @description The weights that gave the score.
         */
        Model: {
            id: string;
            weights_sha256: string;
        };
        /**
         * ModelInfo
         * @description A model that scores now: weights, calibration, how it runs, and its model card (Markdown).
         */
        ModelInfo: {
            calibration_id: string;
            card: string | null;
            engine: string;
            id: string;
            precision: string;
            weights_sha256: string;
            workers: number;
        };
        /**
         * ModelList
         * @description The models that live workers score with.
         */
        ModelList: {
            data: components["schemas"]["ModelInfo"][];
        };
        /**
         * Moderation
         * @description What OpenAI's client reads, and the scans in the order of the input, with all they say.
         */
        Moderation: {
            id: string;
            model: string;
            results: components["schemas"]["ModerationResult"][];
            scans: components["schemas"]["Scan"][];
        };
        /**
         * ModerationRequest
         * @description What OpenAI's client sends. `model` is not read: the answer says which one judged.
         */
        ModerationRequest: {
            input: components["schemas"]["ImagePart"][];
            /** @default  */
            model: string;
            /** @default balanced */
            operating_point: components["schemas"]["PointName"];
        };
        /**
         * ModerationResult
         * @description One answer for all images of a request, as OpenAI's is: flagged if any of them is.
         */
        ModerationResult: {
            categories: {
                [key: string]: boolean;
            };
            category_applied_input_types: {
                [key: string]: string[];
            };
            category_scores: {
                [key: string]: number;
            };
            flagged: boolean;
        };
        /**
         * OperatingPoint
         * @description A named threshold and the error rate measured at it, on images like this one.
         *
         *     `threshold` and `clear_below` are scores in [0, 1]: at or above the first, re-encoded too, the
         *     verdict is `likely_ai`, below the second `no_sign_of_ai`, between them `inconclusive`. All
         *     numbers but `n` are null where fewer than 300 real images of the slice were measured; such a
         *     slice is always `inconclusive`. `clear_below` alone is null where fewer than 300 AI images were;
         *     such a slice is never `no_sign_of_ai`.
         */
        OperatingPoint: {
            calibration_id: string;
            ci95: [
                number,
                number
            ] | null;
            clear_below: number | null;
            expected_false_alarm_rate: number | null;
            n: number;
            name: components["schemas"]["PointName"];
            slice: string;
            threshold: number | null;
        };
        /**
         * PartType
         * @description What a part of the input is. Text is not judged here.
         * @enum {unknown}
         */
        PartType: "image_url";
        /**
         * PointName
         * @description The three operating points, by how many real images they are allowed to flag.
         * @enum {unknown}
         */
        PointName: "balanced" | "sensitive" | "strict";
        /**
         * Priority
         * @description Who waits for a scan: a person (interactive), or a platform that works off many (bulk).
         *
         *     Interactive scans are done first, but bulk ones have one batch in eight all the same. Bulk is
         *     refused with queue_full when half as many scans wait as may.
         * @enum {unknown}
         */
        Priority: "bulk" | "interactive";
        /**
         * Problem
         * @description What went wrong with a request: application/problem+json (RFC 9457), with a hint.
         *
         *     `violated-policies` names those of the RateLimit-Policy header that a 429 is about.
         */
        Problem: {
            code: components["schemas"]["ProblemCode"];
            detail: string;
            errors: components["schemas"]["Fault"][];
            hint: string;
            instance: string | null;
            request_id: string;
            retryable: boolean;
            status: number;
            title: string;
            type: string;
            "violated-policies": string[];
        };
        /**
         * ProblemCode
         * @description Why a request was refused.
         * @enum {unknown}
         */
        ProblemCode: "abnormal_usage" | "address_blocked" | "appeal_exists" | "auth_invalid" | "auth_missing" | "batch_too_large" | "body_too_large" | "cursor_invalid" | "expired" | "idempotency_in_flight" | "idempotency_key_reused" | "internal" | "invalid_parameter" | "key_revoked" | "malformed_json" | "media_type_unsupported" | "method_not_allowed" | "model_unavailable" | "model_unknown" | "not_acceptable" | "not_found" | "operating_point_unknown" | "origin_not_allowed" | "queue_full" | "rate_limited" | "scope_missing" | "shutting_down" | "state_conflict" | "store_unavailable" | "unknown" | "unknown_field" | "upload_empty" | "url_invalid" | "url_scheme_not_allowed" | "webhook_url_rejected";
        /**
         * Reason
         * @description One reason for the verdict: a stable code and a sentence for people.
         */
        Reason: {
            code: string;
            text: string;
        };
        /**
         * Receipt
         * @description What was said of which bytes, signed: it can be checked without asking us.
         *
         *     `payload` is the exact text that `signature` (Ed25519, base64) signs; `public_key` is the
         *     server's, raw, in base64.
         */
        Receipt: {
            algorithm: string;
            payload: string;
            public_key: string;
            signature: string;
        };
        /**
         * Scan
         * @description One request to judge one image, and what came of it.
         */
        Scan: {
            appeal: components["schemas"]["ScanAppeal"];
            batch_id: string | null;
            completed_at: string | null;
            context: {
                [key: string]: string;
            };
            created_at: string;
            declaration: components["schemas"]["Declaration"] | null;
            error: components["schemas"]["ScanError"] | null;
            id: string;
            input: components["schemas"]["Input"];
            metadata: {
                [key: string]: string;
            };
            model: components["schemas"]["Model"] | null;
            operating_point: components["schemas"]["OperatingPoint"] | null;
            probability: number | null;
            reasons: components["schemas"]["Reason"][];
            rescore_of: string | null;
            score: number | null;
            sequence: number;
            status: components["schemas"]["Status"];
            superseded_by: string | null;
            verdict: components["schemas"]["Verdict"] | null;
            warnings: string[];
        };
        /**
         * ScanAppeal
         * @description Whether a person has disputed the verdict, and the appeal to read about it.
         */
        ScanAppeal: {
            id: string | null;
            state: components["schemas"]["AppealState"];
        };
        /**
         * ScanError
         * @description Why a scan failed, what to do about it, and whether asking again can help.
         */
        ScanError: {
            code: components["schemas"]["ScanErrorCode"];
            detail: string;
            hint: string;
            retryable: boolean;
        };
        /**
         * ScanErrorCode
         * @description Why a scan that was accepted has no verdict.
         * @enum {unknown}
         */
        ScanErrorCode: "canceled" | "deadline_exceeded" | "decode_failed" | "fetch_address_blocked" | "fetch_connect" | "fetch_dns" | "fetch_forbidden" | "fetch_http_error" | "fetch_not_found" | "fetch_redirects" | "fetch_timeout" | "fetch_tls" | "fetch_too_large" | "format_unsupported" | "image_too_large" | "image_too_small" | "not_an_image" | "scoring_failed" | "unknown" | "worker_lost";
        /**
         * ScanList
         * @description One page of the owner's scans, newest first. `next_cursor` asks for the next page.
         */
        ScanList: {
            data: components["schemas"]["Scan"][];
            has_more: boolean;
            next_cursor: string | null;
        };
        /**
         * ScanRequest
         * @description The body of POST /v1/scans: exactly one of `url`, `upload_id` and `sha256`.
         *
         *     What is as by default is not sent, so that a server which does not know a field yet takes it.
         *     `priority` is `bulk` where nobody waits for this one scan: those of people go first.
         *     `sha256` (64 hex digits) asks for what is known of bytes that are not sent.
         *     `callback_url` is told, signed with the owner's callback secret, when the scan is final.
         *     `context` (platform, item_id) and `metadata` come back unread with the scan and its events.
         */
        ScanRequest: {
            /** Format: uri */
            callback_url?: string;
            /** @default {} */
            context: {
                [key: string]: string;
            };
            /** @default {} */
            metadata: {
                [key: string]: string;
            };
            /** @default balanced */
            operating_point: components["schemas"]["PointName"];
            /** @default interactive */
            priority: components["schemas"]["Priority"];
            sha256?: string;
            upload_id?: string;
            /** Format: uri */
            url?: string;
        } & (unknown | unknown | unknown);
        /**
         * Scope
         * @description What a key may do: submit scans, read its owner's records, decide appeals, or all of it.
         * @enum {unknown}
         */
        Scope: "admin" | "moderate" | "read" | "scan";
        /**
         * Status
         * @description Where a scan is. The last three are final.
         * @enum {unknown}
         */
        Status: "canceled" | "completed" | "failed" | "fetching" | "queued" | "scoring";
        /**
         * Upload
         * @description Bytes held for 15 minutes, to be named in a ScanRequest.
         */
        Upload: {
            bytes: number;
            expires_at: string;
            id: string;
            sha256: string;
        };
        /**
         * Verdict
         * @description What is known of an image. There is no word for "real": a detector cannot know that.
         * @enum {unknown}
         */
        Verdict: "declared_ai" | "inconclusive" | "likely_ai" | "no_sign_of_ai";
        /**
         * Vetting
         * @description Whether pict-rs shall keep an image; `code` says why there is no verdict, where none is.
         */
        Vetting: {
            accepted: boolean;
            code: string | null;
            scan_id: string | null;
            verdict: components["schemas"]["Verdict"] | null;
        };
    };
    responses: {
        /** @description `address_blocked`: The address is not public; `operating_point_unknown`: No such operating point. */
        "address_blocked.operating_point_unknown": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `address_blocked`: The address is not public; `webhook_url_rejected`: Nothing can be delivered to this URL; `operating_point_unknown`: No such operating point; `idempotency_key_reused`: The Idempotency-Key belongs to another request. */
        "address_blocked.webhook_url_rejected.operating_point_unknown.idempotency_key_reused": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `auth_invalid`: The key is not known here; `key_revoked`: The key is revoked or past its date. */
        "auth_invalid.key_revoked": {
            headers: {
                "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `auth_missing`: A key is needed; `auth_invalid`: The key is not known here; `key_revoked`: The key is revoked or past its date. */
        "auth_missing.auth_invalid.key_revoked": {
            headers: {
                "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `body_too_large`: The body is too large. */
        body_too_large: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `body_too_large`: The body is too large; `batch_too_large`: The batch has more than 1,000 items. */
        "body_too_large.batch_too_large": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `expired`: It was here and is gone. */
        expired: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `idempotency_in_flight`: The first request with this Idempotency-Key is not answered yet. */
        idempotency_in_flight: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `idempotency_key_reused`: The Idempotency-Key belongs to another request. */
        idempotency_key_reused: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `internal`: Something broke here. */
        internal: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `invalid_parameter`: A value is not what it should be. */
        invalid_parameter: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `invalid_parameter`: A value is not what it should be; `cursor_invalid`: The cursor is not one of ours. */
        "invalid_parameter.cursor_invalid": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `invalid_parameter`: A value is not what it should be; `upload_empty`: The upload has no bytes. */
        "invalid_parameter.upload_empty": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `malformed_json`: The body is not JSON; `invalid_parameter`: A value is not what it should be; `unknown_field`: The body has a field that does not exist. */
        "malformed_json.invalid_parameter.unknown_field": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `malformed_json`: The body is not JSON; `invalid_parameter`: A value is not what it should be; `unknown_field`: The body has a field that does not exist; `url_invalid`: The URL cannot be fetched as written; `url_scheme_not_allowed`: Only http and https are fetched. */
        "malformed_json.invalid_parameter.unknown_field.url_invalid.url_scheme_not_allowed": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `malformed_json`: The body is not JSON; `invalid_parameter`: A value is not what it should be; `unknown_field`: The body has a field that does not exist; `url_invalid`: The URL cannot be fetched as written; `url_scheme_not_allowed`: Only http and https are fetched; `upload_empty`: The upload has no bytes. */
        "malformed_json.invalid_parameter.unknown_field.url_invalid.url_scheme_not_allowed.upload_empty": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `media_type_unsupported`: The content type is not taken here. */
        media_type_unsupported: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `model_unknown`: No live worker has this model. */
        model_unknown: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `model_unknown`: No live worker has this model; `not_found`: There is nothing at this address. */
        "model_unknown.not_found": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `not_acceptable`: Only JSON is spoken here. */
        not_acceptable: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `not_found`: There is nothing at this address. */
        not_found: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `operating_point_unknown`: No such operating point. */
        operating_point_unknown: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `operating_point_unknown`: No such operating point; `webhook_url_rejected`: Nothing can be delivered to this URL; `idempotency_key_reused`: The Idempotency-Key belongs to another request. */
        "operating_point_unknown.webhook_url_rejected.idempotency_key_reused": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `origin_not_allowed`: The request comes from a place that may not ask. */
        origin_not_allowed: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `queue_full`: Too much work is waiting; `model_unavailable`: No worker is ready to score; `store_unavailable`: The store cannot be reached or written; `shutting_down`: The server is stopping. */
        "queue_full.model_unavailable.store_unavailable.shutting_down": {
            headers: {
                "Retry-After": components["headers"]["Retry-After"];
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `rate_limited`: Too many requests; `abnormal_usage`: Requests went on although they were refused. */
        "rate_limited.abnormal_usage": {
            headers: {
                RateLimit: components["headers"]["RateLimit"];
                "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                "Retry-After": components["headers"]["Retry-After"];
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `scope_missing`: The key may not do this; `origin_not_allowed`: The request comes from a place that may not ask. */
        "scope_missing.origin_not_allowed": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `state_conflict`: It is not in a state that allows this. */
        state_conflict: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `state_conflict`: It is not in a state that allows this; `appeal_exists`: There is an appeal already; `idempotency_in_flight`: The first request with this Idempotency-Key is not answered yet. */
        "state_conflict.appeal_exists.idempotency_in_flight": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `state_conflict`: It is not in a state that allows this; `idempotency_in_flight`: The first request with this Idempotency-Key is not answered yet. */
        "state_conflict.idempotency_in_flight": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `store_unavailable`: The store cannot be reached or written; `shutting_down`: The server is stopping. */
        "store_unavailable.shutting_down": {
            headers: {
                "Retry-After": components["headers"]["Retry-After"];
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `webhook_url_rejected`: Nothing can be delivered to this URL. */
        webhook_url_rejected: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `webhook_url_rejected`: Nothing can be delivered to this URL; `idempotency_key_reused`: The Idempotency-Key belongs to another request. */
        "webhook_url_rejected.idempotency_key_reused": {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
    };
    parameters: {
        /**
         * @description `no-cache`, `no-store` or `max-age=0` (RFC 9111): have the image looked at anew, whatever is on record. Other directives change nothing.
         * @example no-cache
         */
        "Cache-Control": string;
        /**
         * @description Up to 255 printable ASCII characters of your choice, quoted or not. The same request with the same key within 24 h is done once, and answered with what it made.
         * @example "7b5f2f0e-3f1d-4a57-9a53-0b4d6f0f6c11"
         */
        "Idempotency-Key": string;
        /**
         * @description ETag of what you have: answered with 304 if it is still so.
         * @example "0a1b2c3d4e5f"
         */
        "If-None-Match": string;
        /**
         * @description Id of the last event that you have: what came after it is sent.
         * @example 1
         */
        "Last-Event-ID": string;
        /**
         * @description `wait=N` (RFC 7240): answer once the scan is final, or after N seconds, at most 30.
         * @example wait=20
         */
        Prefer: string;
        /** @description Id of the appeal, from its Location. */
        appeal_id: string;
        /** @description Id of the batch, from its Location. */
        batch_id: string;
        /** @description The `code` of a problem or of a scan's error. */
        code: string;
        /** @description Only scans that were made at or after this time, from 1970 on. */
        created_after: string;
        /** @description Only scans that were made before this time, from 1970 on. */
        created_before: string;
        /** @description `next_cursor` of the page before, with the same filters. */
        cursor: string;
        /** @description Id of a delivery to this endpoint. */
        delivery_id: string;
        /** @description Id of the endpoint, from its Location. */
        endpoint_id: string;
        /** @description Id of an event: the `webhook-id` of its delivery. */
        event_id: string;
        /** @description Most entries on the page. */
        limit: number;
        /** @description Id of a model, as `model.id` of a scan has it. */
        model_id: string;
        /** @description Only scans of this batch. */
        of_batch: string;
        /** @description Where verdicts are read. */
        operating_point: "strict" | "balanced" | "sensitive";
        /**
         * @description The first five hex digits of a sha256.
         * @example 0a1b2
         */
        prefix: string;
        /** @description Id of the scan, from its Location. */
        scan_id: string;
        /** @description An API key: the program that asks cannot send a header. */
        secret: string;
        /** @description Only scans of these bytes. */
        sha256: string;
        /** @description Only scans that are here; `queued` finds all that are not final. */
        status: "queued" | "completed" | "failed" | "canceled";
        /** @description Only scans with this verdict. */
        verdict: "likely_ai" | "inconclusive" | "no_sign_of_ai" | "declared_ai";
    };
    requestBodies: never;
    headers: {
        /** @description How long the answer may be kept, and by whom. */
        "Cache-Control": string;
        /** @description Names this state of what was read; see If-None-Match. */
        ETag: string;
        /** @description `true` if an earlier request with this key made it. */
        "Idempotent-Replayed": string;
        /** @description Where what was made is. */
        Location: string;
        /** @description `wait=N` if the scan became final within it. */
        "Preference-Applied": string;
        /** @description What is left of each limit (`r`), and in how many seconds there is more (`t`). */
        RateLimit: string;
        /** @description The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11). */
        "RateLimit-Policy": string;
        /** @description Seconds after which asking again makes sense. */
        "Retry-After": number;
        /** @description `Bearer`. */
        "WWW-Authenticate": string;
        /** @description Names the request in the log; the one you sent, if you sent one. */
        "X-Request-Id": string;
    };
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    createModeration: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "input": [
                 *         {
                 *           "image_url": {
                 *             "url": "https://example.com/cat.jpg"
                 *           },
                 *           "type": "image_url"
                 *         }
                 *       ],
                 *       "model": "omni-moderation-latest"
                 *     }
                 */
                "application/json": components["schemas"]["ModerationRequest"];
            };
        };
        responses: {
            /** @description One answer for all images. */
            200: {
                headers: {
                    /** @description What is left of each limit (`r`), and in how many seconds there is more (`t`). */
                    RateLimit?: string;
                    /** @description The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11). */
                    "RateLimit-Policy"?: string;
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Moderation"];
                };
            };
            400: components["responses"]["malformed_json.invalid_parameter.unknown_field.url_invalid.url_scheme_not_allowed.upload_empty"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            413: components["responses"]["body_too_large"];
            415: components["responses"]["media_type_unsupported"];
            422: components["responses"]["address_blocked.operating_point_unknown"];
            429: components["responses"]["rate_limited.abnormal_usage"];
            500: components["responses"]["internal"];
            503: components["responses"]["queue_full.model_unavailable.store_unavailable.shutting_down"];
        };
    };
    vetForPictrs: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description An API key: the program that asks cannot send a header. */
                secret: components["parameters"]["secret"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/octet-stream": string;
                "image/*": string;
                "multipart/form-data": {
                    /** Format: binary */
                    file: string;
                };
            };
        };
        responses: {
            /** @description Keep it. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Vetting"];
                };
            };
            401: components["responses"]["auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            /** @description Reject it. */
            406: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Vetting"];
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getHealth: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It lives. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Health"];
                };
            };
            403: components["responses"]["origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getMetrics: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The metrics. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "text/plain": string;
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getReadiness: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A scan can be taken. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Health"];
                };
            };
            403: components["responses"]["origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            /** @description A part is in the way. */
            503: {
                headers: {
                    "Retry-After": components["headers"]["Retry-After"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Health"];
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getSchema: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description This document. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
            403: components["responses"]["origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    listAppeals: {
        parameters: {
            query?: {
                /** @description Most entries on the page. */
                limit?: components["parameters"]["limit"];
                /** @description `next_cursor` of the page before, with the same filters. */
                cursor?: components["parameters"]["cursor"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AppealList"];
                };
            };
            400: components["responses"]["invalid_parameter.cursor_invalid"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getAppeal: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the appeal, from its Location. */
                appeal_id: components["parameters"]["appeal_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The appeal. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Appeal"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    decideAppeal: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the appeal, from its Location. */
                appeal_id: components["parameters"]["appeal_id"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "decision": "overturn",
                 *       "note": "The layers were shown to us."
                 *     }
                 */
                "application/json": components["schemas"]["AppealDecisionRequest"];
            };
        };
        responses: {
            /** @description Decided. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Appeal"];
                };
            };
            400: components["responses"]["malformed_json.invalid_parameter.unknown_field"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict"];
            413: components["responses"]["body_too_large"];
            415: components["responses"]["media_type_unsupported"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    createBatch: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Up to 255 printable ASCII characters of your choice, quoted or not. The same request with the same key within 24 h is done once, and answered with what it made.
                 * @example "7b5f2f0e-3f1d-4a57-9a53-0b4d6f0f6c11"
                 */
                "Idempotency-Key"?: components["parameters"]["Idempotency-Key"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "metadata": {
                 *         "run": "nightly"
                 *       },
                 *       "scans": [
                 *         {
                 *           "url": "https://example.com/cat.jpg"
                 *         },
                 *         {
                 *           "url": "https://example.com/dog.jpg"
                 *         }
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["BatchRequest"];
            };
        };
        responses: {
            /** @description Accepted. */
            202: {
                headers: {
                    /** @description `true` if an earlier request with this key made it. */
                    "Idempotent-Replayed"?: string;
                    Location: components["headers"]["Location"];
                    /** @description What is left of each limit (`r`), and in how many seconds there is more (`t`). */
                    RateLimit?: string;
                    /** @description The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11). */
                    "RateLimit-Policy"?: string;
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Batch"];
                };
            };
            400: components["responses"]["malformed_json.invalid_parameter.unknown_field"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["idempotency_in_flight"];
            413: components["responses"]["body_too_large.batch_too_large"];
            415: components["responses"]["media_type_unsupported"];
            422: components["responses"]["operating_point_unknown.webhook_url_rejected.idempotency_key_reused"];
            429: components["responses"]["rate_limited.abnormal_usage"];
            500: components["responses"]["internal"];
            503: components["responses"]["queue_full.model_unavailable.store_unavailable.shutting_down"];
        };
    };
    getBatch: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the batch, from its Location. */
                batch_id: components["parameters"]["batch_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The batch. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Batch"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    cancelBatch: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the batch, from its Location. */
                batch_id: components["parameters"]["batch_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The batch. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Batch"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getBatchResults: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the batch, from its Location. */
                batch_id: components["parameters"]["batch_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The results, a line each. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/x-ndjson": components["schemas"]["BatchResult"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getErrorCode: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The `code` of a problem or of a scan's error. */
                code: components["parameters"]["code"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description What the code means. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorFacts"];
                };
            };
            403: components["responses"]["origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    listFeedback: {
        parameters: {
            query?: {
                /** @description Most entries on the page. */
                limit?: components["parameters"]["limit"];
                /** @description `next_cursor` of the page before, with the same filters. */
                cursor?: components["parameters"]["cursor"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FeedbackList"];
                };
            };
            400: components["responses"]["invalid_parameter.cursor_invalid"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getKey: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The key. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["KeyFacts"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    lookUp: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "sha256": [
                 *         "abababababababababababababababababababababababababababababababab"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["LookupRequest"];
            };
        };
        responses: {
            /** @description What is known. */
            200: {
                headers: {
                    /** @description What is left of each limit (`r`), and in how many seconds there is more (`t`). */
                    RateLimit?: string;
                    /** @description The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11). */
                    "RateLimit-Policy"?: string;
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["LookupList"];
                };
            };
            400: components["responses"]["malformed_json.invalid_parameter.unknown_field"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            413: components["responses"]["body_too_large"];
            415: components["responses"]["media_type_unsupported"];
            422: components["responses"]["operating_point_unknown"];
            429: components["responses"]["rate_limited.abnormal_usage"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    lookUpRange: {
        parameters: {
            query?: {
                /** @description Where verdicts are read. */
                operating_point?: components["parameters"]["operating_point"];
            };
            header?: never;
            path: {
                /**
                 * @description The first five hex digits of a sha256.
                 * @example 0a1b2
                 */
                prefix: components["parameters"]["prefix"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description What is known. */
            200: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    /** @description What is left of each limit (`r`), and in how many seconds there is more (`t`). */
                    RateLimit?: string;
                    /** @description The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11). */
                    "RateLimit-Policy"?: string;
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["HashRange"];
                };
            };
            400: components["responses"]["invalid_parameter"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            422: components["responses"]["operating_point_unknown"];
            429: components["responses"]["rate_limited.abnormal_usage"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    listModels: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The models. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelList"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getModel: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of a model, as `model.id` of a scan has it. */
                model_id: components["parameters"]["model_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The model. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelInfo"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["model_unknown"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getGateReport: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of a model, as `model.id` of a scan has it. */
                model_id: components["parameters"]["model_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report, as `pinclip gate --json` wrote it. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["model_unknown.not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getModelFile: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description ETag of what you have: answered with 304 if it is still so.
                 * @example "0a1b2c3d4e5f"
                 */
                "If-None-Match"?: components["parameters"]["If-None-Match"];
            };
            path: {
                /** @description Id of a model, as `model.id` of a scan has it. */
                model_id: components["parameters"]["model_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The file. */
            200: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": string;
                };
            };
            /** @description That range. */
            206: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": string;
                };
            };
            /** @description You have it. */
            304: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["model_unknown.not_found"];
            406: components["responses"]["not_acceptable"];
            /** @description No such bytes. */
            416: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    ETag: components["headers"]["ETag"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    listScans: {
        parameters: {
            query?: {
                /** @description Most entries on the page. */
                limit?: components["parameters"]["limit"];
                /** @description `next_cursor` of the page before, with the same filters. */
                cursor?: components["parameters"]["cursor"];
                /** @description Only scans that are here; `queued` finds all that are not final. */
                status?: components["parameters"]["status"];
                /** @description Only scans with this verdict. */
                verdict?: components["parameters"]["verdict"];
                /** @description Only scans of these bytes. */
                sha256?: components["parameters"]["sha256"];
                /** @description Only scans of this batch. */
                batch_id?: components["parameters"]["of_batch"];
                /** @description Only scans that were made at or after this time, from 1970 on. */
                created_after?: components["parameters"]["created_after"];
                /** @description Only scans that were made before this time, from 1970 on. */
                created_before?: components["parameters"]["created_before"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ScanList"];
                };
            };
            400: components["responses"]["invalid_parameter.cursor_invalid"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    submitScan: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description `wait=N` (RFC 7240): answer once the scan is final, or after N seconds, at most 30.
                 * @example wait=20
                 */
                Prefer?: components["parameters"]["Prefer"];
                /**
                 * @description `no-cache`, `no-store` or `max-age=0` (RFC 9111): have the image looked at anew, whatever is on record. Other directives change nothing.
                 * @example no-cache
                 */
                "Cache-Control"?: components["parameters"]["Cache-Control"];
                /**
                 * @description Up to 255 printable ASCII characters of your choice, quoted or not. The same request with the same key within 24 h is done once, and answered with what it made.
                 * @example "7b5f2f0e-3f1d-4a57-9a53-0b4d6f0f6c11"
                 */
                "Idempotency-Key"?: components["parameters"]["Idempotency-Key"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "context": {
                 *         "item_id": "post-1",
                 *         "platform": "forum"
                 *       },
                 *       "operating_point": "balanced",
                 *       "url": "https://example.com/cat.jpg"
                 *     }
                 */
                "application/json": components["schemas"]["ScanRequest"];
            };
        };
        responses: {
            /** @description Known already, or final within the wait. */
            200: {
                headers: {
                    /** @description `true` if an earlier request with this key made it. */
                    "Idempotent-Replayed"?: string;
                    Location: components["headers"]["Location"];
                    /** @description `wait=N` if the scan became final within it. */
                    "Preference-Applied"?: string;
                    /** @description What is left of each limit (`r`), and in how many seconds there is more (`t`). */
                    RateLimit?: string;
                    /** @description The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11). */
                    "RateLimit-Policy"?: string;
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Scan"];
                };
            };
            /** @description Accepted; not final yet. */
            202: {
                headers: {
                    /** @description `true` if an earlier request with this key made it. */
                    "Idempotent-Replayed"?: string;
                    Location: components["headers"]["Location"];
                    /** @description What is left of each limit (`r`), and in how many seconds there is more (`t`). */
                    RateLimit?: string;
                    /** @description The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11). */
                    "RateLimit-Policy"?: string;
                    "Retry-After": components["headers"]["Retry-After"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Scan"];
                };
            };
            400: components["responses"]["malformed_json.invalid_parameter.unknown_field.url_invalid.url_scheme_not_allowed"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["idempotency_in_flight"];
            410: components["responses"]["expired"];
            413: components["responses"]["body_too_large"];
            415: components["responses"]["media_type_unsupported"];
            422: components["responses"]["address_blocked.webhook_url_rejected.operating_point_unknown.idempotency_key_reused"];
            429: components["responses"]["rate_limited.abnormal_usage"];
            500: components["responses"]["internal"];
            503: components["responses"]["queue_full.model_unavailable.store_unavailable.shutting_down"];
        };
    };
    getScan: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description `wait=N` (RFC 7240): answer once the scan is final, or after N seconds, at most 30.
                 * @example wait=20
                 */
                Prefer?: components["parameters"]["Prefer"];
                /**
                 * @description ETag of what you have: answered with 304 if it is still so.
                 * @example "0a1b2c3d4e5f"
                 */
                "If-None-Match"?: components["parameters"]["If-None-Match"];
            };
            path: {
                /** @description Id of the scan, from its Location. */
                scan_id: components["parameters"]["scan_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The scan as it is. */
            200: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    ETag: components["headers"]["ETag"];
                    /** @description Where what was made is. */
                    Location?: string;
                    /** @description `wait=N` if the scan became final within it. */
                    "Preference-Applied"?: string;
                    /** @description Seconds after which asking again makes sense. */
                    "Retry-After"?: number;
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Scan"];
                };
            };
            /** @description Not final after the wait. */
            202: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    ETag: components["headers"]["ETag"];
                    Location: components["headers"]["Location"];
                    "Retry-After": components["headers"]["Retry-After"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Scan"];
                };
            };
            /** @description It is still as you have it. */
            304: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    ETag: components["headers"]["ETag"];
                    /** @description `wait=N` if the scan became final within it. */
                    "Preference-Applied"?: string;
                    /** @description Seconds after which asking again makes sense. */
                    "Retry-After"?: number;
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            410: components["responses"]["expired"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    eraseScan: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the scan, from its Location. */
                scan_id: components["parameters"]["scan_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Erased. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            410: components["responses"]["expired"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    createAppeal: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Up to 255 printable ASCII characters of your choice, quoted or not. The same request with the same key within 24 h is done once, and answered with what it made.
                 * @example "7b5f2f0e-3f1d-4a57-9a53-0b4d6f0f6c11"
                 */
                "Idempotency-Key"?: components["parameters"]["Idempotency-Key"];
            };
            path: {
                /** @description Id of the scan, from its Location. */
                scan_id: components["parameters"]["scan_id"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "evidence_url": "https://example.com/in-progress.jpg",
                 *       "reason": "I painted this in 2014; the link shows it in progress."
                 *     }
                 */
                "application/json": components["schemas"]["AppealRequest"];
            };
        };
        responses: {
            /** @description Recorded, and open. */
            201: {
                headers: {
                    /** @description `true` if an earlier request with this key made it. */
                    "Idempotent-Replayed"?: string;
                    Location: components["headers"]["Location"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Appeal"];
                };
            };
            400: components["responses"]["malformed_json.invalid_parameter.unknown_field"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict.appeal_exists.idempotency_in_flight"];
            413: components["responses"]["body_too_large"];
            415: components["responses"]["media_type_unsupported"];
            422: components["responses"]["idempotency_key_reused"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    cancelScan: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the scan, from its Location. */
                scan_id: components["parameters"]["scan_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Canceled. */
            200: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Scan"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict"];
            410: components["responses"]["expired"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    followScan: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Id of the last event that you have: what came after it is sent.
                 * @example 1
                 */
                "Last-Event-ID"?: components["parameters"]["Last-Event-ID"];
            };
            path: {
                /** @description Id of the scan, from its Location. */
                scan_id: components["parameters"]["scan_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The events. */
            200: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": {
                        data: string;
                        /** @constant */
                        event: "scan";
                        /** @description `sequence` of the scan. */
                        id: string;
                        /** @description Milliseconds until one should come back. */
                        retry: number;
                    };
                };
            };
            /** @description The scan is final, and you know it. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["invalid_parameter"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            410: components["responses"]["expired"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    listScanFeedback: {
        parameters: {
            query?: {
                /** @description Most entries on the page. */
                limit?: components["parameters"]["limit"];
                /** @description `next_cursor` of the page before, with the same filters. */
                cursor?: components["parameters"]["cursor"];
            };
            header?: never;
            path: {
                /** @description Id of the scan, from its Location. */
                scan_id: components["parameters"]["scan_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FeedbackList"];
                };
            };
            400: components["responses"]["invalid_parameter.cursor_invalid"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            410: components["responses"]["expired"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    createFeedback: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Up to 255 printable ASCII characters of your choice, quoted or not. The same request with the same key within 24 h is done once, and answered with what it made.
                 * @example "7b5f2f0e-3f1d-4a57-9a53-0b4d6f0f6c11"
                 */
                "Idempotency-Key"?: components["parameters"]["Idempotency-Key"];
            };
            path: {
                /** @description Id of the scan, from its Location. */
                scan_id: components["parameters"]["scan_id"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "comment": "A photo of mine, from before 2020.",
                 *       "label": "not_ai"
                 *     }
                 */
                "application/json": components["schemas"]["FeedbackRequest"];
            };
        };
        responses: {
            /** @description Recorded. */
            201: {
                headers: {
                    /** @description `true` if an earlier request with this key made it. */
                    "Idempotent-Replayed"?: string;
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Feedback"];
                };
            };
            400: components["responses"]["malformed_json.invalid_parameter.unknown_field"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict.idempotency_in_flight"];
            410: components["responses"]["expired"];
            413: components["responses"]["body_too_large"];
            415: components["responses"]["media_type_unsupported"];
            422: components["responses"]["idempotency_key_reused"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getReceipt: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the scan, from its Location. */
                scan_id: components["parameters"]["scan_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The receipt. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Receipt"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    rescoreScan: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description `wait=N` (RFC 7240): answer once the scan is final, or after N seconds, at most 30.
                 * @example wait=20
                 */
                Prefer?: components["parameters"]["Prefer"];
                /**
                 * @description Up to 255 printable ASCII characters of your choice, quoted or not. The same request with the same key within 24 h is done once, and answered with what it made.
                 * @example "7b5f2f0e-3f1d-4a57-9a53-0b4d6f0f6c11"
                 */
                "Idempotency-Key"?: components["parameters"]["Idempotency-Key"];
            };
            path: {
                /** @description Id of the scan, from its Location. */
                scan_id: components["parameters"]["scan_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Final within the wait, or by the time of a repeated request. */
            200: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    /** @description `true` if an earlier request with this key made it. */
                    "Idempotent-Replayed"?: string;
                    Location: components["headers"]["Location"];
                    /** @description `wait=N` if the scan became final within it. */
                    "Preference-Applied"?: string;
                    /** @description What is left of each limit (`r`), and in how many seconds there is more (`t`). */
                    RateLimit?: string;
                    /** @description The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11). */
                    "RateLimit-Policy"?: string;
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Scan"];
                };
            };
            /** @description Accepted; not final yet. */
            202: {
                headers: {
                    "Cache-Control": components["headers"]["Cache-Control"];
                    /** @description `true` if an earlier request with this key made it. */
                    "Idempotent-Replayed"?: string;
                    Location: components["headers"]["Location"];
                    /** @description What is left of each limit (`r`), and in how many seconds there is more (`t`). */
                    RateLimit?: string;
                    /** @description The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11). */
                    "RateLimit-Policy"?: string;
                    "Retry-After": components["headers"]["Retry-After"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Scan"];
                };
            };
            400: components["responses"]["invalid_parameter"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict.idempotency_in_flight"];
            410: components["responses"]["expired"];
            422: components["responses"]["idempotency_key_reused"];
            429: components["responses"]["rate_limited.abnormal_usage"];
            500: components["responses"]["internal"];
            503: components["responses"]["queue_full.model_unavailable.store_unavailable.shutting_down"];
        };
    };
    createUpload: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/octet-stream": string;
                "image/*": string;
                "multipart/form-data": {
                    /** Format: binary */
                    file: string;
                };
            };
        };
        responses: {
            /** @description Kept. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Upload"];
                };
            };
            400: components["responses"]["invalid_parameter.upload_empty"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            413: components["responses"]["body_too_large"];
            415: components["responses"]["media_type_unsupported"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    listWebhooks: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All endpoints. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["EndpointList"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    createWebhook: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Up to 255 printable ASCII characters of your choice, quoted or not. The same request with the same key within 24 h is done once, and answered with what it made.
                 * @example "7b5f2f0e-3f1d-4a57-9a53-0b4d6f0f6c11"
                 */
                "Idempotency-Key"?: components["parameters"]["Idempotency-Key"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "events": [
                 *         "scan.completed",
                 *         "scan.failed"
                 *       ],
                 *       "url": "https://example.com/hooks/pinclip"
                 *     }
                 */
                "application/json": components["schemas"]["EndpointRequest"];
            };
        };
        responses: {
            /** @description Registered. */
            201: {
                headers: {
                    /** @description `true` if an earlier request with this key made it. */
                    "Idempotent-Replayed"?: string;
                    Location: components["headers"]["Location"];
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Endpoint"];
                };
            };
            400: components["responses"]["malformed_json.invalid_parameter.unknown_field"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict.idempotency_in_flight"];
            413: components["responses"]["body_too_large"];
            415: components["responses"]["media_type_unsupported"];
            422: components["responses"]["webhook_url_rejected.idempotency_key_reused"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getCallbackSecret: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The secret. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CallbackSecret"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    rotateCallbackSecret: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The new secret. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CallbackSecret"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    getWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the endpoint, from its Location. */
                endpoint_id: components["parameters"]["endpoint_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The endpoint. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Endpoint"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    deleteWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the endpoint, from its Location. */
                endpoint_id: components["parameters"]["endpoint_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Forgotten. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    changeWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the endpoint, from its Location. */
                endpoint_id: components["parameters"]["endpoint_id"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "state": "enabled"
                 *     }
                 */
                "application/json": components["schemas"]["EndpointPatch"];
            };
        };
        responses: {
            /** @description Changed. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Endpoint"];
                };
            };
            400: components["responses"]["malformed_json.invalid_parameter.unknown_field"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict"];
            413: components["responses"]["body_too_large"];
            415: components["responses"]["media_type_unsupported"];
            422: components["responses"]["webhook_url_rejected"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    listDeliveries: {
        parameters: {
            query?: {
                /** @description Most entries on the page. */
                limit?: components["parameters"]["limit"];
                /** @description `next_cursor` of the page before, with the same filters. */
                cursor?: components["parameters"]["cursor"];
            };
            header?: never;
            path: {
                /** @description Id of the endpoint, from its Location. */
                endpoint_id: components["parameters"]["endpoint_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeliveryList"];
                };
            };
            400: components["responses"]["invalid_parameter.cursor_invalid"];
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    replayDelivery: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the endpoint, from its Location. */
                endpoint_id: components["parameters"]["endpoint_id"];
                /** @description Id of a delivery to this endpoint. */
                delivery_id: components["parameters"]["delivery_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Will be sent. */
            202: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Delivery"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    replayEvent: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the endpoint, from its Location. */
                endpoint_id: components["parameters"]["endpoint_id"];
                /** @description Id of an event: the `webhook-id` of its delivery. */
                event_id: components["parameters"]["event_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Will be sent. */
            202: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Delivery"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    rotateWebhookSecret: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the endpoint, from its Location. */
                endpoint_id: components["parameters"]["endpoint_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The endpoint with its new secret. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Endpoint"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    testWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Id of the endpoint, from its Location. */
                endpoint_id: components["parameters"]["endpoint_id"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Will be sent. */
            202: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Delivery"];
                };
            };
            401: components["responses"]["auth_missing.auth_invalid.key_revoked"];
            403: components["responses"]["scope_missing.origin_not_allowed"];
            404: components["responses"]["not_found"];
            406: components["responses"]["not_acceptable"];
            409: components["responses"]["state_conflict"];
            500: components["responses"]["internal"];
            503: components["responses"]["store_unavailable.shutting_down"];
        };
    };
    receiveEvent: {
        parameters: {
            query?: never;
            header: {
                /** @description Id of the event. */
                "webhook-id": string;
                /** @description When this attempt was signed, in Unix seconds. */
                "webhook-timestamp": string;
                /** @description `v1,` and base64, for each secret that signs now. */
                "webhook-signature": string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["Event"];
            };
        };
        responses: {
            /** @description Do not send any more: the endpoint is disabled. */
            410: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description Taken; answer within 15 s. */
            "2XX": {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
}
type FlattenedDeepRequired<T> = {
    [K in keyof T]-?: FlattenedDeepRequired<T[K] extends unknown[] | undefined | null ? Extract<T[K], unknown[]>[number] : T[K]>;
};
type ReadonlyArray<T> = [
    Exclude<T, undefined>
] extends [
    unknown[]
] ? Readonly<Exclude<T, undefined>> : Readonly<Exclude<T, undefined>[]>;
export const appealDecisionValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["AppealDecision"]> = ["overturn", "uphold"];
export const appealStateValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["AppealState"]> = ["none", "open", "overturned", "upheld"];
export const batchStatusValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["BatchStatus"]> = ["completed", "running"];
export const deliveryStateValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["DeliveryState"]> = ["delivered", "failed", "pending"];
export const endpointStateValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["EndpointState"]> = ["disabled", "enabled"];
export const eventTypeValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["EventType"]> = ["appeal.created", "appeal.decided", "batch.completed", "ping", "scan.completed", "scan.failed", "scan.verdict_changed", "webhook.disabled"];
export const feedbackLabelValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["FeedbackLabel"]> = ["ai", "not_ai"];
export const inputKindValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["InputKind"]> = ["sha256", "upload", "url"];
export const partTypeValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["PartType"]> = ["image_url"];
export const pointNameValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["PointName"]> = ["balanced", "sensitive", "strict"];
export const priorityValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["Priority"]> = ["bulk", "interactive"];
export const problemCodeValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["ProblemCode"]> = ["abnormal_usage", "address_blocked", "appeal_exists", "auth_invalid", "auth_missing", "batch_too_large", "body_too_large", "cursor_invalid", "expired", "idempotency_in_flight", "idempotency_key_reused", "internal", "invalid_parameter", "key_revoked", "malformed_json", "media_type_unsupported", "method_not_allowed", "model_unavailable", "model_unknown", "not_acceptable", "not_found", "operating_point_unknown", "origin_not_allowed", "queue_full", "rate_limited", "scope_missing", "shutting_down", "state_conflict", "store_unavailable", "unknown", "unknown_field", "upload_empty", "url_invalid", "url_scheme_not_allowed", "webhook_url_rejected"];
export const scanErrorCodeValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["ScanErrorCode"]> = ["canceled", "deadline_exceeded", "decode_failed", "fetch_address_blocked", "fetch_connect", "fetch_dns", "fetch_forbidden", "fetch_http_error", "fetch_not_found", "fetch_redirects", "fetch_timeout", "fetch_tls", "fetch_too_large", "format_unsupported", "image_too_large", "image_too_small", "not_an_image", "scoring_failed", "unknown", "worker_lost"];
export const scopeValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["Scope"]> = ["admin", "moderate", "read", "scan"];
export const statusValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["Status"]> = ["canceled", "completed", "failed", "fetching", "queued", "scoring"];
export const verdictValues: ReadonlyArray<FlattenedDeepRequired<components>["schemas"]["Verdict"]> = ["declared_ai", "inconclusive", "likely_ai", "no_sign_of_ai"];
export const componentsParametersOperating_pointValues: ReadonlyArray<FlattenedDeepRequired<components>["parameters"]["operating_point"]> = ["strict", "balanced", "sensitive"];
export const componentsParametersStatusValues: ReadonlyArray<FlattenedDeepRequired<components>["parameters"]["status"]> = ["queued", "completed", "failed", "canceled"];
export const componentsParametersVerdictValues: ReadonlyArray<FlattenedDeepRequired<components>["parameters"]["verdict"]> = ["likely_ai", "inconclusive", "no_sign_of_ai", "declared_ai"];
