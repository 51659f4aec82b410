//go:build linux && amd64

package main

import (
	"os"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"oubliette/jail"
	"oubliette/policy"
)

// openAudit connects -audit. Records that the policy asks for go to stderr without.
func (o options) openAudit(j *jail.Jail, p *policy.Policy) (closeFile func() error, err error) {
	asked := len(p.Audit) > 0 || slices.ContainsFunc(p.Calls, func(r policy.Rule) bool { return r.Audit })
	f := os.Stderr
	closeFile = func() error { return nil }
	switch {
	case o.audit == "" && !asked:
		return closeFile, nil
	case o.audit != "":
		if f, err = os.Create(o.audit); err != nil {
			return nil, err
		}
		closeFile = f.Close
	}
	if !asked {
		p.Audit = policy.AuditKinds()
	}
	format := zap.NewProductionEncoderConfig()
	format.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	j.Logger = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(format), f, zap.InfoLevel))
	return closeFile, nil
}
