-- Refunds whose outcome is not known are looked up at the payment provider, so that lost events do no harm.
DROP INDEX refunds_requested;

CREATE INDEX refunds_unsettled ON refunds (created_at) WHERE state IN ('REQUESTED', 'SENT');
