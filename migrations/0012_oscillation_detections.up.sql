-- Oscillations that were found on a resource.
-- requires: oscillation_patterns, resource_references
-- provides: table oscillation_detections

CREATE TABLE IF NOT EXISTS oscillation_detections (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pattern_id bigint NOT NULL,
    resource_id bigint NOT NULL,
    detected_at timestamptz NOT NULL DEFAULT now(),
    confidence numeric(4, 3) NOT NULL,
    action_count integer NOT NULL,
    time_span_minutes integer NOT NULL,
    matching_actions jsonb,
    pattern_evidence jsonb,
    prevention_applied boolean DEFAULT false,
    prevention_action varchar(50),
    prevention_details jsonb,
    prevention_successful boolean,
    resolved boolean DEFAULT false,
    resolved_at timestamptz,
    resolution_method varchar(50),
    resolution_notes text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT oscillation_detections_pattern_id_fkey FOREIGN KEY (pattern_id) REFERENCES oscillation_patterns (id) ON DELETE CASCADE,
    CONSTRAINT oscillation_detections_resource_id_fkey FOREIGN KEY (resource_id) REFERENCES resource_references (id) ON DELETE CASCADE
);

CREATE INDEX IF NOT EXISTS idx_oscillation_detections_pattern ON oscillation_detections (pattern_id);
CREATE INDEX IF NOT EXISTS idx_oscillation_detections_resource ON oscillation_detections (resource_id, detected_at DESC);
CREATE INDEX IF NOT EXISTS idx_oscillation_detections_unresolved ON oscillation_detections (detected_at DESC) WHERE NOT resolved;

COMMENT ON TABLE oscillation_detections IS 'Oscillations that were found on a resource';
COMMENT ON INDEX idx_oscillation_detections_pattern IS 'The detections of one pattern, which go with it';
COMMENT ON INDEX idx_oscillation_detections_resource IS 'The detections on one resource, newest first';
COMMENT ON INDEX idx_oscillation_detections_unresolved IS 'What is still open, newest first';
