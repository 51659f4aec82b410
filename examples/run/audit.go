//go:build linux && amd64

package main

import (
	"errors"
	"os"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"oubliette/jail"
	"oubliette/policy"
)

// openAudit connects -audit. A policy that asks for records must not be without.
func (o options) openAudit(j *jail.Jail, p *policy.Policy) (func() error, error) {
	asked := len(p.Audit) > 0 || slices.ContainsFunc(p.Calls, func(r policy.Rule) bool { return r.Audit })
	switch {
	case o.audit == "" && asked:
		return nil, errors.New("the policy asks for audit records: name a file for them with -audit FILE")
	case o.audit == "":
		return func() error { return nil }, nil
	case !asked:
		p.Audit = policy.AuditKinds()
	}
	f, err := os.Create(o.audit)
	if err != nil {
		return nil, err
	}
	format := zap.NewProductionEncoderConfig()
	format.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	j.Logger = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(format), f, zap.InfoLevel))
	return f.Close, nil
}
